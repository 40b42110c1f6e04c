// The stock Socket.IO client, driven by lines: node socket.mjs URL websocket|polling|upgrade
//
// In, one JSON a line:  {"call":"subscribe","data":{...},"id":1}   {"emit":"subscribe","data":...}   {"do":"pause"}
//                       {"do":"resume"} {"do":"cut"} {"do":"throw"} {"do":"end"}
// Out, one JSON a line: {"connected":TRANSPORT} {"disconnected":REASON} {"refused":MESSAGE} {"ack":...,"id":1}
//                       {"event":"changes","args":[...]} {"done":"pause"}
import { createInterface } from 'node:readline'
import { io } from 'socket.io-client'

const [url, how] = process.argv.slice(2)
const transports = how === 'upgrade' ? ['polling', 'websocket'] : [how]
const socket = io(url, {
  transports, reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true,
  extraHeaders: process.env.ORIGIN ? { origin: process.env.ORIGIN } : undefined
})

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const transport = () => socket.io.engine?.transport

let throws = false
// What a handler throws is the page's own affair: the connection has to go on.
process.on('uncaughtException', (error) => say({ threw: error.message }))

socket.on('connect', () => say({ connected: transport().name }))
socket.io.on('open', () => socket.io.engine.on('upgrade', (to) => say({ upgraded: to.name })))
socket.on('disconnect', (reason) => say({ disconnected: reason }))
socket.on('connect_error', (error) => say({ refused: error.message }))
socket.onAny((event, ...args) => say({ event, args }))
socket.on('changes', () => {
  if (throws) {
    throws = false
    throw new Error('thrown by a handler')
  }
})

const acts = {
  pause: () => transport().ws._socket.pause(),
  resume: () => transport().ws._socket.resume(),
  cut: () => transport().close(),
  throw: () => { throws = true },
  end: () => { socket.close(); process.exit(0) }
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line)
  if (told.call) {
    socket.emit(told.call, told.data, (ack) => say({ ack, id: told.id }))
  } else if (told.emit) {
    socket.emit(told.emit, told.data)
  } else {
    acts[told.do]()
    say({ done: told.do })
  }
}
process.exit(0)
