// One article on the page: shows it while it is written, then what is known of it.

import { ask, rate, read } from "./stream.js";

const ENDINGS = {
  end: "complete",
  stop: "stopped at a stop string",
  length: "reached the length limit",
  refused: "stopped before a copied passage",
};

export class Panel {
  // `on` has what the page does when asked: say(sentence), again(), keep(seed), retry(panel), done(article).
  constructor(on) {
    this.element = document.getElementById("panel").content.cloneNode(true).firstElementChild;
    this.on = on;
    this.article = null; // what the server finished last
    this.request = null; // what was asked last
    for (const name of ["version", "text", "facts", "problem", "copied", "thumbs", "copy", "again", "keep", "origin", "retry"]) {
      this[name] = this.element.querySelector(`.${name}`);
    }
    this.title = this.element.querySelector("h1");
    this.footer = this.element.querySelector("footer");
    this.element.querySelector(".up").addEventListener("click", () => this.rate("up"));
    this.element.querySelector(".down").addEventListener("click", () => this.rate("down"));
    this.copy.addEventListener("click", () => this.copyText());
    this.again.addEventListener("click", () => on.again());
    this.retry.addEventListener("click", () => on.retry(this));
    this.keep.addEventListener("click", () => on.keep(this.article.seed));
    this.origin.addEventListener("toggle", () => this.showOrigin());
  }

  // ---- writing --------------------------------------------------------------------------------------------------

  async write(request, signal) {
    this.request = request;
    this.begin(request.topic ?? "");
    try {
      await this.follow(request, signal);
      if (!this.article) throw new Error("The connection closed before the article was finished; try again in a moment.");
    } catch (error) {
      const unreachable = "The server does not answer; try again in a moment.";
      this.end(error.name === "AbortError" ? "Stopped." : "");
      if (error.name !== "AbortError") this.fail(error instanceof TypeError ? unreachable : error.message);
    }
  }

  async follow(request, signal) {
    let shown = "";
    for await (const { name, data } of ask(request, signal)) {
      if (name === "start") this.start(data);
      if (name === "restart") this.showText((shown = ""));
      if (name === "text") this.showText((shown += data.text));
      if (name === "error") throw new Error(data.error.message);
      if (name === "done") this.finish(data);
    }
  }

  begin(topic) {
    this.article = null;
    this.title.textContent = topic;
    this.version.textContent = "";
    this.text.replaceChildren(paragraphOf());
    this.element.classList.add("writing");
    this.footer.hidden = this.problem.hidden = this.copied.hidden = this.retry.hidden = true;
    this.origin.open = false;
    for (const button of this.thumbs.children) button.setAttribute("aria-pressed", "false");
  }

  start(data) {
    this.title.textContent = data.topic;
    this.version.textContent = nameOf(data.model);
  }

  finish(article) {
    this.showWhole(article);
    this.on.done(article);
    this.on.say("The article is complete.");
  }

  // An article that is finished, now or earlier.
  showWhole(article) {
    this.begin(article.topic);
    this.start(article);
    this.article = article;
    this.showText(article.text, article.guard.passages);
    this.showCopied(article.guard);
    const cut = article.prompt_tokens_cut
      ? " The topic was too long for the model; its beginning was cut."
      : "";
    this.end(
      `${nameOf(article.model)} · seed ${article.seed} · ${article.tokens} tokens in ${article.seconds.toFixed(1)} s · ` +
        `${ENDINGS[article.finish_reason]}.${cut}`,
    );
  }

  end(sentence) {
    this.element.classList.remove("writing");
    this.facts.textContent = sentence;
    this.keep.hidden = this.origin.hidden = this.thumbs.hidden = this.article === null;
    this.footer.hidden = false;
    if (sentence) this.on.say(sentence);
  }

  fail(message) {
    this.problem.textContent = message;
    this.problem.hidden = false;
    this.retry.hidden = this.article !== null; // a rating failed, not the article
    this.on.say(message);
  }

  // ---- showing --------------------------------------------------------------------------------------------------

  showText(whole, passages = []) {
    const lead = whole.length - whole.trimStart().length;
    const parts = whole.slice(lead).split(/(\n{2,})/);
    let place = lead;
    let count = 0;
    parts.forEach((part, index) => {
      if (index % 2 === 0) {
        const paragraph = this.text.children[count++] ?? this.text.appendChild(paragraphOf());
        if (passages.length) paragraph.replaceChildren(...marked(part, place, passages));
        else if (paragraph.textContent !== part) paragraph.textContent = part;
      }
      place += part.length;
    });
    while (this.text.children.length > count) this.text.lastChild.remove();
  }

  showCopied(guard) {
    const [sentence, list] = this.copied.children;
    this.copied.hidden = guard.passages.length === 0;
    sentence.textContent =
      guard.status === "refused"
        ? "The text stops here. The next passage is copied word for word from"
        : "Marked passages are copied word for word from";
    list.replaceChildren(
      ...guard.passages.map((passage) => {
        const item = document.createElement("li");
        item.append(linkTo(passage.url), ` (${passage.words} words)`);
        return item;
      }),
    );
  }

  async showOrigin() {
    if (!this.origin.open || !this.article) return;
    const list = this.origin.querySelector("dl");
    const { article } = this;
    const record = (await read(`/v1/articles/${article.id}`)) ?? {};
    const rows = [
      ["Article", article.id],
      ["Model", nameOf(article.model)],
      ["Checksum", article.model.checksum],
      ["Seed", article.seed],
      ["Written with", settingsOf(article).join(", ")],
      ["Copied passages", article.guard.status],
      ...Object.entries(record.lineage ?? {}).flatMap(([name, value]) => lineageRows(name, value)),
    ];
    list.replaceChildren();
    for (const [name, value] of rows) {
      list.appendChild(document.createElement("dt")).textContent = name;
      list.appendChild(document.createElement("dd")).textContent = String(value);
    }
  }

  // ---- clicks ---------------------------------------------------------------------------------------------------

  async rate(rating) {
    try {
      await rate(this.article.id, rating);
    } catch (error) {
      this.fail(error instanceof TypeError ? "The server does not answer; try again in a moment." : error.message);
      return;
    }
    for (const button of this.thumbs.children) {
      button.setAttribute("aria-pressed", String(button.classList.contains(rating)));
    }
    this.on.say("Thank you. Your rating was saved.");
  }

  async copyText() {
    const paragraphs = [...this.text.children].map((paragraph) => paragraph.textContent);
    try {
      await navigator.clipboard.writeText(`${this.title.textContent}\n\n${paragraphs.join("\n\n")}\n`);
      this.said("Copied");
    } catch {
      // browsers give pages from plain HTTP addresses no clipboard: then the reader copies what is selected
      getSelection().setBaseAndExtent(this.title, 0, this.text, this.text.childNodes.length);
      this.said("Press Ctrl+C to copy");
    }
  }

  said(word) {
    this.copy.textContent = word;
    this.on.say(word);
    setTimeout(() => (this.copy.textContent = "Copy"), 2000);
  }
}

// Its own direction: a site may write from right to left.
function paragraphOf() {
  return Object.assign(document.createElement("p"), { dir: "auto" });
}

export function nameOf(model) {
  return `${model.name} · ${versionOf(model)}`;
}

export function versionOf(model) {
  if (model.version === null) return "from a directory";
  return `version ${model.version}${model.stage ? ` · ${model.stage}` : ""}`;
}

// A part of the text that begins at `place`, with the passages in it marked.
function marked(part, place, passages) {
  const nodes = [];
  let done = 0;
  for (const { start, stop } of passages) {
    const from = Math.max(start - place, done);
    const to = Math.min(stop - place, part.length);
    if (start === null || from >= to) continue;
    const mark = document.createElement("mark");
    mark.textContent = part.slice(from, to);
    nodes.push(part.slice(done, from), mark);
    done = to;
  }
  return [...nodes, part.slice(done)];
}

function linkTo(url) {
  if (!/^https?:\/\//.test(url)) return url;
  const link = document.createElement("a");
  link.href = link.textContent = url;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

function settingsOf(article) {
  return Object.entries(article.settings)
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
export const capital = (label) => label.charAt(0).toUpperCase() + label.slice(1).replaceAll("_", " ");
