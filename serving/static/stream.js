// Asking the server, and reading what it streams.

// The events of a streamed article. EventSource cannot POST, so this reads server-sent events from a fetch.
export async function* ask(request, signal) {
  const response = await fetch("/v1/articles", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true }),
    signal,
  });
  if (!response.ok) throw new Error(await problemOf(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const [, name, data] = block.match(/^event: (.*)\ndata: (.*)$/) ?? [];
      if (name) yield { name, data: JSON.parse(data) };
    }
  }
}

async function problemOf(response) {
  const answer = await response.json().catch(() => null);
  const message = answer?.error?.message ?? `The server answered ${response.status}.`;
  const wait = response.headers.get("Retry-After");
  return wait ? `${message} Retry in ${wait} seconds.` : message;
}

// What a GET answers, or null where nothing sensible comes.
export const read = (path) => fetch(path).then((response) => response.json()).catch(() => null);

export async function rate(article, rating) {
  const response = await fetch(`/v1/articles/${article}/feedback`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ rating, user: reader() }),
  });
  if (!response.ok) throw new Error(await problemOf(response));
}

// A name for this browser: the same reader is answered by the same version, and has one rating a text.
export function reader() {
  try {
    const name = localStorage.getItem("reader") ?? `reader-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    localStorage.setItem("reader", name);
    return name;
  } catch {
    return ""; // a browser that keeps nothing
  }
}
