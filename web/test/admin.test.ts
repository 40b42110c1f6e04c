// What the admin pages conclude: one cause, widths of a track, steps of a record, bytes with a mark.
import { describe, expect, it } from 'vitest'
import { decode, hex, nearest, reasons, text } from '../src/pages/dlq-model'
import { cause, steps, tone, track, type Partition, type Pipe } from '../src/pages/pipeline-model'

const partition = (o: Partial<Partition> = {}): Partition => ({ partition: 0, committed: 90, confirmed: 92, received: 95, end: 100, oldest_ms: null, held_since: null, ...o })
const pipe = (o: Partial<Pipe> = {}): Pipe => ({ stream: 'kv', generation: 1, started: '', past: [], state: 'running', held: null, partitions: [partition()], writers: [], ...o })
const writer = (shard: number, since_ms: number | null) => ({ shard, mailbox_used: 0, mailbox_max: 8, batch_records: 10, batch_keys: 4, cut: 'full', since_ms })

describe('the pipeline', () => {
  it('names one cause: the store before the writers before a partition', () => {
    const slow = pipe({ writers: [writer(0, 3_000), writer(1, 9_000)], partitions: [partition({ held_since: 'x' })] })
    expect(cause(slow, { state: 'open', attempt: 1, next_ms: 0 }).what).toBe('store')
    expect(cause(slow, { state: 'closed', attempt: 0, next_ms: null })).toEqual({ what: 'writer', id: 1 })
    expect(cause(pipe({ partitions: [partition({ partition: 4, held_since: 'x' })] }), null)).toEqual({ what: 'partition', id: 4 })
    expect(cause(pipe(), null).what).toBe('none')
  })
  it('is held where a partition is', () => {
    expect(tone(pipe({ partitions: [partition({ held_since: 'x' })] }))).toBe('held')
    expect(tone(pipe())).toBe('current')
  })
  it('draws offsets in order', () => {
    const t = track(partition())
    expect(t.comm).toBeLessThan(t.conf)
    expect(t.conf).toBeLessThan(t.recv)
    expect(track(partition({ committed: 100, confirmed: 100, received: 100 }))).toEqual({ comm: 100, conf: 100, recv: 100 })
  })
  it('says where a record is', () => {
    expect(steps({ stage: 'writer' }).map((s) => s.state)).toEqual(['done', 'done', 'done', 'wait', 'later'])
    expect(steps({ stage: 'stored' }).every((s) => s.state === 'done')).toBe(true)
    expect(steps({ stage: 'unknown' })).toHaveLength(1)
  })
})

describe('dead letters', () => {
  const bytes = new TextEncoder().encode('{"on":tru,"n":1}')
  it('count by reason over streams', () => {
    expect(reasons({ streams: [{ stream: 'a', reasons: { x: 1, y: 4 } }, { stream: 'b', reasons: { x: 2, z: 0 } }] })).toEqual([
      { reason: 'y', count: 4, streams: ['a'] }, { reason: 'x', count: 3, streams: ['a', 'b'] }])
  })
  it('know the partition nearest to its limit', () => {
    expect(nearest({ streams: [{ stream: 'a', reasons: {}, partitions: [{ partition: 0, used: 6, limit: 100 }, { partition: 1, used: 40, limit: 500 }] }] }).near).toMatchObject({ partition: 1 })
  })
  it('mark the failing byte in both halves', () => {
    const [line] = hex(bytes, 9, 16)
    expect(line!.offset).toBe('0000')
    expect(line!.hex.find((r) => r.bad)?.text).toBe('2c')
    expect(line!.ascii.map((r) => r.text).join('')).toBe('{"on":tru,"n":1}')
    expect(text(bytes, 9).map((r) => r.text)).toEqual(['{"on":tru', ',', '"n":1}'])
  })
  it('keep short lines as wide as whole ones', () => {
    const lines = hex(new Uint8Array(21), null, 16)
    const width = (i: number) => lines[i]!.hex.reduce((n, r) => n + r.text.length, 0)
    expect(width(0)).toBe(width(1))
  })
  it('show what is not UTF-8 as such', () => {
    expect(text(decode(btoa('M\xfcller')), 1)).toEqual([{ text: 'M', bad: false }, { text: '\ufffd', bad: true }, { text: 'ller', bad: false }])
  })
})
