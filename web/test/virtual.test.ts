// The arithmetic of the key table, at its edges; and paths, which decide the page.
import { describe, expect, it } from 'vitest'
import { filters, reveal, slotOf, spoken, view } from '../src/virtual'
import { keyPath, parse } from '../src/router'

describe('rows in view', () => {
  it('start at the top', () => expect(view(0, 320, 32, 1_000)).toEqual({ from: 0, count: 12, slots: 12 }))
  it('end at the end', () => {
    const w = view(1_000 * 32, 320, 32, 1_000)
    expect(w.from + w.count).toBe(1_000)
  })
  it('are all of a short list', () => expect(view(0, 320, 32, 3)).toEqual({ from: 0, count: 3, slots: 12 }))
  it('are none of none', () => expect(view(0, 320, 32, 0).count).toBe(0))
  it('never share a slot', () => {
    for (const scroll of [0, 31, 32, 777, 5_000]) {
      const w = view(scroll, 333, 32, 500)
      const slots = Array.from({ length: w.count }, (_, i) => slotOf(w.from + i, w.slots))
      expect(new Set(slots).size).toBe(w.count)
    }
  })
  it('are spoken from one, whole rows only', () => {
    expect(spoken(0, 320, 32, 1_000)).toEqual([1, 10])
    expect(spoken(16, 320, 32, 1_000)).toEqual([2, 10])
    expect(spoken(0, 320, 32, 0)).toEqual([0, 0])
  })
  it('scroll only as far as they must', () => {
    expect(reveal(0, 100, 320, 32)).toBe(0)
    expect(reveal(5, 100, 320, 32)).toBe(100)
    expect(reveal(20, 100, 320, 32)).toBe(352)
  })
})

describe('a filter', () => {
  it('is name, sign and value', () => {
    expect(filters('mode = heating')).toEqual(['/mode:eq:heating'])
    expect(filters('burner.flame>=0.5 and version<10')).toEqual(['/burner/flame:ge:0.5', 'version:lt:10'])
    expect(filters('name ^= "Ada L"')).toEqual(['/name:prefix:Ada L'])
    expect(filters('')).toEqual([])
  })
  it('that is none of these is refused', () => expect(filters('heating')).toBeNull())
})

describe('paths', () => {
  it.each([
    ['/', 'streams', '', ''],
    ['/viewer/boiler-7', 'viewer', 'kv', 'boiler-7'],
    ['/viewer/a%2Fb', 'viewer', 'kv', 'a/b'],
    ['/viewer/a/b', 'viewer', 'kv', 'a/b'],
    ['/streams/orders', 'stream', 'orders', ''],
    ['/streams/orders/ord-1', 'viewer', 'orders', 'ord-1'],
    ['/streams/orders/a%20b%3Ac', 'viewer', 'orders', 'a b:c'],
    ['/pipeline', 'pipeline', '', ''],
    ['/dlq', 'dlq', '', ''],
    ['/agents', 'agents', '', ''],
    ['/health/live', 'unknown', '', '']
  ])('%s', (path, page, stream, key) => expect(parse(path)).toEqual({ page, stream, key, path }))
  it('of a key lead back to it', () => {
    for (const key of ['a', 'a/b', 'a b?c#d', 'ü%', ':x']) {
      expect(parse(keyPath('kv', key)).key).toBe(key)
      expect(parse(keyPath('orders', key))).toMatchObject({ stream: 'orders', key })
    }
  })
})
