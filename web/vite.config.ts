import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` shows the app with live reload and asks the server of `amenable serve` for data.
export default defineConfig({
  plugins: [react()],
  build: { outDir: "../src/amenable/server/static", emptyOutDir: true, chunkSizeWarningLimit: 700 },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/v1": "http://127.0.0.1:8000" } },
});
