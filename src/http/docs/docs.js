// Shows /openapi.json as a list of operations, each with a form that sends it. Text goes in by textContent alone.
const node = (tag, props = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), props)
  made.append(...children)
  return made
}

const resolve = (doc, schema) => {
  const name = schema?.$ref?.split('/').pop()
  return name ? doc.components.schemas[name] : schema
}

const sample = (doc, schema) => {
  const known = resolve(doc, schema) ?? {}
  if (known.properties) {
    return Object.fromEntries(Object.entries(known.properties).map(([name, one]) => [name, sample(doc, one)]))
  }
  return known.type === 'string' ? 'text' : { hello: 'world' }
}

const field = (parameter) => {
  const input = node('input', { name: `${parameter.in} ${parameter.name}`, required: !!parameter.required, spellcheck: false })
  return node('label', {}, node('code', { textContent: parameter.name }), input,
    node('small', { textContent: parameter.description ?? '' }))
}

const address = (path, data) => {
  let url = path
  const query = new URLSearchParams()
  for (const [name, value] of data) {
    const [place, ...rest] = name.split(' ')
    if (place === 'path') url = url.replace(`{${rest.join(' ')}}`, encodeURIComponent(value))
    if (place === 'query' && value !== '') query.append(rest.join(' '), value)
  }
  return query.size > 0 ? `${url}?${query}` : url
}

const send = async (method, path, form, out) => {
  const data = new FormData(form)
  const headers = {}
  for (const [name, value] of data) {
    if (name.startsWith('header ') && value !== '') headers[name.slice(7)] = value
  }
  const body = data.get('body')
  if (body !== null) headers['content-type'] = 'application/json'
  const url = address(path, data)
  out.textContent = `${method} ${url} ...`
  try {
    const answer = await fetch(url, { method, headers, body: body ?? undefined, redirect: 'manual' })
    const head = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join('\n')
    const text = await answer.text()
    let shown = text
    try { shown = JSON.stringify(JSON.parse(text), null, 2) } catch { /* not JSON: as it is */ }
    out.textContent = `${method} ${url}\n${answer.status} ${answer.statusText}\n${head}\n\n${shown.slice(0, 20000)}`
  } catch (error) {
    out.textContent = `${method} ${url}\nno answer: ${error.message}`
  }
}

const operation = (doc, method, path, about) => {
  const out = node('pre', { hidden: true })
  const content = about.requestBody?.content?.['application/json']
  const form = node('form', {}, node('p', { textContent: about.description ?? '' }), ...(about.parameters ?? []).map(field))
  if (content) {
    const value = JSON.stringify(sample(doc, content.schema), null, 2)
    form.append(node('label', {}, node('code', { textContent: 'body' }), node('textarea', { name: 'body', rows: 5, value, spellcheck: false })))
  }
  if (!path.includes('/socket.io') && path !== '/live') form.append(node('button', { textContent: 'Send' }))
  form.append(out)
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    out.hidden = false
    send(method, path, form, out)
  })
  const summary = node('summary', {}, node('b', { textContent: method }), node('code', { textContent: path }),
    node('span', { textContent: about.summary ?? '' }))
  return node('details', {}, summary, form)
}

const show = (doc) => {
  const groups = new Map((doc.tags ?? []).map((tag) => [tag.name, []]))
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of ['get', 'put', 'post', 'delete']) {
      const about = item[method]
      if (about) groups.get(about.tags?.[0] ?? 'about')?.push(operation(doc, method.toUpperCase(), path, about))
    }
  }
  const main = document.getElementById('paths')
  for (const tag of doc.tags ?? []) {
    const operations = groups.get(tag.name)
    if (operations.length > 0) main.append(node('h2', { textContent: tag.description }), ...operations)
  }
}

fetch('/openapi.json').then((answer) => answer.json()).then(show).catch((error) => {
  document.getElementById('paths').textContent = `/openapi.json could not be read: ${error.message}`
})
