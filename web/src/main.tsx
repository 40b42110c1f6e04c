// Where the pages start: styles, the frame, and the page that the path names. Invariant: one
// connection and one router per tab, whatever page is in view. No state of its own.
import './css/tokens.css'
import 'uplot/dist/uPlot.min.css'
import './css/base.css'
import './css/furniture.css'
import './css/parts.css'
import './css/streams.css'
import './css/viewer.css'
import './css/stream.css'
import './css/pipeline.css'
import './css/dlq.css'
import './css/agents.css'
import '@preact/signals'
import { render, type JSX } from 'preact'
import { startCatalog } from './live/catalog'
import { refresh } from './live/status'
import { Frame, startChrome } from './parts/chrome'
import { Agents } from './pages/agents'
import { DeadLetters } from './pages/dlq'
import { Pipeline } from './pages/pipeline'
import { Stream } from './pages/stream'
import { Streams } from './pages/streams'
import { Viewer } from './pages/viewer'
import { route, startRouter } from './router'

function Page(): JSX.Element {
  const { page, stream, key, path } = route.value
  switch (page) {
    case 'streams': return <Streams />
    case 'viewer': return <Viewer key={`${stream}/${key}`} stream={stream} name={key} />
    case 'stream': return <Stream key={stream} stream={stream} />
    case 'pipeline': return <Pipeline />
    case 'dlq': return <DeadLetters />
    case 'agents': return <Agents />
    default: return (
      <main id="main" tabIndex={-1}>
        <h1>No page here</h1>
        <p class="lead">Nothing is served at <span class="mono">{path}</span>. <a href="/">Streams</a> leads to every page.</p>
      </main>
    )
  }
}

startChrome()
startRouter()
startCatalog()
refresh()
render(<Frame><Page /></Frame>, document.getElementById('app')!)
