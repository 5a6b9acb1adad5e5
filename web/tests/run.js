// `npm test`: Node's own test runner over the TypeScript beside this file. Vite, which builds the app, reads the TypeScript:
// the oldest Node that builds it cannot.
import { readdirSync } from "node:fs";
import { createServer } from "vite";

const here = import.meta.dirname;
const vite = await createServer({ configFile: false, root: `${here}/..`, appType: "custom", logLevel: "error", server: { middlewareMode: true, hmr: false, ws: false, watch: null }, optimizeDeps: { noDiscovery: true } });
for (const name of readdirSync(here).filter((name) => name.endsWith(".test.ts"))) await vite.ssrLoadModule(`/tests/${name}`);
await vite.close();
