// The articles that this browser has received: kept in it alone, shown again, exported, deleted.

import { nameOf } from "./panel.js";

const KEY = "articles";
const MOST = 50; // articles; the oldest are dropped

export class History {
  // `on` has what the page does when asked: say(sentence), show(article).
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.list = element.querySelector("ul");
    element.querySelector(".export").addEventListener("click", () => this.export());
    element.querySelector(".forget").addEventListener("click", () => this.forget());
    addEventListener("storage", () => this.show()); // another tab has written or deleted
    this.show();
  }

  get articles() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept : [];
    } catch {
      return []; // a browser that keeps nothing, or something else under this name
    }
  }

  keep(articles) {
    for (let most = MOST; most > 0; most = Math.floor(most / 2)) {
      try {
        localStorage.setItem(KEY, JSON.stringify(articles.slice(0, most)));
        break;
      } catch {
        continue; // too much for the browser's room: with half of them it may fit
      }
    }
    this.show();
  }

  add(article) {
    this.keep([article, ...this.articles.filter(({ id }) => id !== article.id)]);
  }

  delete(id) {
    this.keep(this.articles.filter((article) => article.id !== id));
    this.on.say("Deleted.");
  }

  forget() {
    if (!confirm("Delete all earlier articles from this browser?")) return;
    this.keep([]);
    this.on.say("All earlier articles are deleted.");
  }

  export() {
    const file = new Blob([JSON.stringify(this.articles, null, 2)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "textmill-articles.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  show() {
    const { articles } = this;
    this.element.hidden = articles.length === 0;
    this.element.querySelector("summary").textContent = `Earlier articles (${articles.length})`;
    this.list.replaceChildren(...articles.map((article) => this.item(article)));
  }

  item(article) {
    const item = document.createElement("li");
    const open = document.createElement("button");
    Object.assign(open, { type: "button", className: "quiet open", dir: "auto", textContent: article.topic });
    open.addEventListener("click", () => this.on.show(article));
    const facts = document.createElement("small");
    facts.textContent = `${nameOf(article.model)} · ${new Date(article.created).toLocaleString()}`;
    const gone = document.createElement("button");
    Object.assign(gone, { type: "button", className: "quiet delete", textContent: "Delete" });
    gone.setAttribute("aria-label", `Delete ${article.topic}`);
    gone.addEventListener("click", () => this.delete(article.id));
    item.append(open, facts, gone);
    return item;
  }
}
