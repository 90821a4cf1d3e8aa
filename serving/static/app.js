// The page: asks for an article, shows it while it is written, and says where it came from.

const find = (id) => document.getElementById(id);
const [form, topic, write, length, temperature, seed] =
  ["form", "topic", "write", "length", "temperature", "seed"].map(find);
const [article, title, text, after, facts] = ["article", "title", "text", "after", "facts"].map(find);
const BETWEEN_LOOKS_MS = 1500; // while the model is being loaded

let writing = null; // the AbortController of the request under way
let written = null; // the article that the server finished last

// ---- the model ------------------------------------------------------------------------------------------------

async function lookForModel() {
  const answer = await fetch("/readyz").then((response) => response.json()).catch(() => null);
  if (answer?.status !== "ready") {
    find("model-text").textContent = answer ? "The model is being loaded" : "The server does not answer";
    setTimeout(lookForModel, BETWEEN_LOOKS_MS);
    return;
  }
  const { model, defaults, limits } = answer;
  find("model").classList.add("ready");
  find("model-text").textContent = nameOf(model);
  length.max = limits.max_tokens;
  length.min = Math.min(20, limits.max_tokens);
  length.value = defaults.max_tokens;
  temperature.value = defaults.temperature;
  showSettings();
  write.disabled = false;
}

function nameOf(model) {
  return model.version === null ? `${model.name} · from a directory` : `${model.name} · version ${model.version} · ${model.stage}`;
}

// ---- settings -------------------------------------------------------------------------------------------------

function showSettings() {
  find("length-shown").textContent = `${length.value} tokens`;
  find("temperature-shown").textContent = Number(temperature.value).toFixed(2);
  find("clear-seed").hidden = seed.value === "";
}

function request() {
  return {
    topic: topic.value,
    max_tokens: Number(length.value),
    temperature: Number(temperature.value),
    ...(seed.value && { seed: Number(seed.value) }),
    stream: true,
  };
}

// ---- writing --------------------------------------------------------------------------------------------------

async function start() {
  writing = new AbortController();
  begin();
  try {
    const response = await fetch("/v1/articles", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request()),
      signal: writing.signal,
    });
    if (!response.ok) throw new Error(await problemOf(response));
    await follow(response);
  } catch (error) {
    if (error.name === "AbortError") end("Stopped.");
    else fail(error instanceof TypeError ? "The server does not answer; try again in a moment." : error.message);
  } finally {
    writing = null;
    showButton();
  }
}

async function problemOf(response) {
  const answer = await response.json().catch(() => null);
  const message = answer?.error?.message ?? `The server answered ${response.status}.`;
  const wait = response.headers.get("Retry-After");
  return wait ? `${message} It suggests to wait ${wait} seconds.` : message;
}

async function follow(response) {
  let shown = "";
  let over = false;
  for await (const { name, data } of events(response.body)) {
    if (name === "start") title.textContent = data.topic;
    if (name === "text") showText((shown += data.text));
    if (name === "error") throw new Error(data.error.message);
    if (name === "done") {
      over = true;
      finish(data);
    }
  }
  if (!over) throw new Error("The connection ended before the article did; try again in a moment.");
}

// Server-sent events from a fetch, because EventSource cannot POST.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
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

// ---- showing --------------------------------------------------------------------------------------------------

function begin() {
  written = null;
  title.textContent = topic.value.trim();
  text.replaceChildren(document.createElement("p"));
  article.classList.add("writing");
  article.hidden = false;
  after.hidden = true;
  find("empty").hidden = true;
  find("problem").hidden = true;
  find("origin").open = false;
  find("status").textContent = "Writing.";
  showButton();
}

function showText(whole) {
  const parts = whole.trimStart().split(/\n{2,}/);
  parts.forEach((part, index) => {
    const paragraph = text.children[index] ?? text.appendChild(document.createElement("p"));
    if (paragraph.textContent !== part) paragraph.textContent = part;
  });
  while (text.children.length > parts.length) text.lastChild.remove();
}

function finish(answer) {
  written = answer;
  showText(answer.text);
  const ending = { end: "ended by itself", stop: "stopped at a given string", length: "reached its length" };
  const cut = answer.prompt_tokens_cut ? " The topic was longer than the model can read; its beginning was left out." : "";
  end(
    `${nameOf(answer.model)} · seed ${answer.seed} · ${answer.tokens} tokens in ${answer.seconds.toFixed(1)} s · ` +
      `${ending[answer.finish_reason]}.${cut}`,
  );
  find("status").textContent = "The article is finished.";
}

function end(sentence) {
  article.classList.remove("writing");
  facts.textContent = sentence;
  find("keep").hidden = find("origin").hidden = written === null;
  after.hidden = false;
  find("status").textContent = sentence;
}

function fail(message) {
  article.classList.remove("writing");
  article.hidden = text.textContent === "";
  find("problem").textContent = message;
  find("problem").hidden = false;
}

function showButton() {
  write.textContent = writing ? "Stop" : "Write";
  write.classList.toggle("stop", writing !== null);
}

// ---- where it comes from --------------------------------------------------------------------------------------

async function showOrigin() {
  if (!find("origin").open || !written) return;
  const list = find("origin-list");
  list.replaceChildren();
  const record = await fetch(`/v1/articles/${written.id}`).then((response) => response.json()).catch(() => ({}));
  const rows = [
    ["Article", written.id],
    ["Model", nameOf(written.model)],
    ["Checksum", written.model.checksum],
    ["Seed", written.seed],
    ["Written with", settingsOf(written).join(", ")],
    ...Object.entries(record.lineage ?? {}).flatMap(([name, value]) => lineageRows(name, value)),
  ];
  for (const [name, value] of rows) {
    const term = list.appendChild(document.createElement("dt"));
    term.textContent = name;
    list.appendChild(document.createElement("dd")).textContent = String(value);
  }
}

function settingsOf(answer) {
  return Object.entries(answer.settings)
    .filter(([, value]) => !Array.isArray(value) || value.length)
    .map(([name, value]) => pair(name, Array.isArray(value) ? JSON.stringify(value) : value));
}

// One row for each group of plain values: `corpus: {snapshot: 3, sources: {mills: 62}}` becomes
// "Corpus" with "snapshot 3", and "Corpus: sources" with "mills 62".
function lineageRows(label, value) {
  if (!isGroup(value)) return value === null ? [] : [[capital(label), value]];
  const entries = Object.entries(value);
  const plain = entries.filter(([, each]) => !isGroup(each) && each !== null).map(([name, each]) => pair(name, each));
  const groups = entries.filter(([, each]) => isGroup(each));
  return [
    ...(plain.length ? [[capital(label), plain.join(", ")]] : []),
    ...groups.flatMap(([name, each]) => lineageRows(`${label}: ${name}`, each)),
  ];
}

const isGroup = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const pair = (name, value) => `${name.replaceAll("_", " ")} ${value}`;
const capital = (label) => label.charAt(0).toUpperCase() + label.slice(1).replaceAll("_", " ");

// ---- clicks and keys ------------------------------------------------------------------------------------------

async function copy() {
  const whole = `${title.textContent}\n\n${[...text.children].map((p) => p.textContent).join("\n\n")}\n`;
  try {
    await navigator.clipboard.writeText(whole);
    said("Copied");
  } catch {
    selectArticle();
  }
}

// Browsers give pages from plain HTTP addresses no clipboard: then the reader copies what is selected.
function selectArticle() {
  getSelection().setBaseAndExtent(title, 0, text, text.childNodes.length);
  said("Selected: press Ctrl+C");
}

function said(word) {
  find("copy").textContent = find("status").textContent = word;
  setTimeout(() => (find("copy").textContent = "Copy"), 2000);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (writing) writing.abort();
  else start();
});
form.addEventListener("input", showSettings);
find("clear-seed").addEventListener("click", () => {
  seed.value = "";
  showSettings();
  seed.focus();
});
find("copy").addEventListener("click", copy);
find("again").addEventListener("click", () => {
  if (writing) return;
  topic.value = title.textContent;
  seed.value = "";
  showSettings();
  form.requestSubmit();
});
find("keep").addEventListener("click", () => {
  seed.value = written.seed;
  showSettings();
  seed.scrollIntoView({ block: "center" });
  seed.focus();
});
find("origin").addEventListener("toggle", showOrigin);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writing) writing.abort();
});

showSettings();
lookForModel();
