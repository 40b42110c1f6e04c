// How the pages become files: one bundle with hashed names and no inline code, because the server
// answers under `default-src 'self'`. Not a development server: the pages are built and served by
// the binary, or by dev/fake-server.mjs.
import { defineConfig } from 'vite'

export default defineConfig({
  base: '/',
  build: {
    outDir: 'dist',
    target: ['chrome109', 'firefox115', 'safari16.4'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400
  },
  test: { include: ['test/**/*.test.ts'] }
} as Parameters<typeof defineConfig>[0])
