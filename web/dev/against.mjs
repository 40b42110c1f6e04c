// Serves web/dist in front of a running server, so that pages can be worked on against the real
// thing without building it again: files and pages from here, all else (and every upgrade) passed
// on as it came. TARGET=http://127.0.0.1:8080 PORT=8090. A development aid.
import { createServer, request } from 'node:http'
import { connect } from 'node:net'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'

const TARGET = new URL(process.env.TARGET ?? 'http://127.0.0.1:8080')
const PORT = +(process.env.PORT ?? 8090)
const DIST = new URL('../dist/', import.meta.url).pathname
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const PAGES = /^\/($|index\.html$|viewer\/|streams\/|agents$|pipeline$|dlq$|assets\/|favicon\.svg$)/

async function own(path) {
  const clean = normalize(decodeURIComponent(path))
  const file = /^\/(assets\/|favicon)/.test(clean) ? clean : '/index.html'
  return { data: await readFile(join(DIST, file)), type: TYPES[extname(file)] ?? 'application/octet-stream' }
}

const server = createServer(async (req, res) => {
  const { pathname } = new URL(req.url, 'http://here')
  if (req.method === 'GET' && PAGES.test(pathname)) {
    try {
      const { data, type } = await own(pathname)
      res.writeHead(200, { 'content-type': type, 'cache-control': 'no-store', 'content-security-policy': "default-src 'self'" })
      return res.end(data)
    } catch {
      res.writeHead(404)
      return res.end()
    }
  }
  const on = request({ host: TARGET.hostname, port: TARGET.port, method: req.method, path: req.url, headers: req.headers }, (answer) => {
    res.writeHead(answer.statusCode, answer.headers)
    answer.pipe(res)
  })
  on.on('error', () => { res.writeHead(502); res.end() })
  req.pipe(on)
})
server.on('upgrade', (req, near, head) => {
  const far = connect(+TARGET.port, TARGET.hostname, () => {
    far.write(`${req.method} ${req.url} HTTP/1.1\r\n${req.rawHeaders.reduce((out, h, i) => out + h + (i % 2 ? '\r\n' : ': '), '')}\r\n`)
    far.write(head)
    near.pipe(far).pipe(near)
  })
  near.on('error', () => far.destroy())
  far.on('error', () => near.destroy())
})
server.listen(PORT, '127.0.0.1', () => console.log(`pages on http://127.0.0.1:${PORT}, all else from ${TARGET.origin}`))
