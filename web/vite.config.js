// `npm run dev` shows the app with live reload and asks the server of `amenable serve` for data.
export default {
  oxc: { jsx: { runtime: "automatic" } },
  build: {
    outDir: "../src/amenable/server/static",
    emptyOutDir: true,
    chunkSizeWarningLimit: 700,
    // libraries mark their files for servers that render React; this app has none
    rolldownOptions: { onLog: (level, log, say) => log.code === "MODULE_LEVEL_DIRECTIVE" || say(level, log) },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/v1": "http://127.0.0.1:8000" } },
};
