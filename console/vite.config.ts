// SPDX-License-Identifier: Apache-2.0

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// Built under /console/. Fragments are made by DOM calls, never by parsing HTML, so that the page runs with
// Trusted Types and no policy at all. Names carry a hash of the content, and nothing depends on time or place.
export default defineConfig({
  base: "./",
  publicDir: "public",
  plugins: [svelte({ compilerOptions: { fragments: "tree", runes: true } })],
  build: {
    outDir: "dist",
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    sourcemap: false,
  },
});
