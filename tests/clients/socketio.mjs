// The stock Socket.IO client behind standard input and output: `node socketio.mjs URL TRANSPORT`.
// In, a line each: {"id":1,"emit":"subscribe","data":{...}}. Out: {"ack":1,"data":...} and whatever
// the server sent, {"event":"changes","args":[...]}. {"do":"cut"} closes the connection, {"do":"connect"}
// makes it again, {"do":"throw"} has the next handler of `changes` throw: `throws` is told once that
// is so, `threw` once it has. Invariant: one connection, never made again by itself, so that a test decides what is
// missed. It ends with its input.
import { createInterface } from 'node:readline'
import { io } from 'socket.io-client'

const [url, transport] = process.argv.slice(2)
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const socket = io(url, { transports: [transport], upgrade: false, reconnection: false })

socket.on('connect', () => say({ event: 'connect', args: [socket.io.engine.transport.name] }))
socket.on('connect_error', (error) => say({ event: 'connect_error', args: [error.message] }))
socket.on('disconnect', (reason) => say({ event: 'disconnect', args: [reason] }))
socket.onAny((event, ...args) => say({ event, args }))

// What a handler throws is the page's own affair.
let throws = false
process.on('uncaughtException', (error) => say({ event: 'threw', args: [error.message] }))
socket.on('changes', () => {
  if (!throws) return
  throws = false
  throw new Error('thrown by a handler')
})

const acts = {
  cut: () => socket.io.engine.close(),
  connect: () => socket.connect(),
  throw: () => { throws = true; say({ event: 'throws', args: [] }) }
}

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const { id, emit, data, do: act } = JSON.parse(line)
  if (act) return acts[act]()
  socket.emit(emit, data, (answer) => say({ ack: id, data: answer }))
})
lines.on('close', () => process.exit(0))
