// The page: what to write about and how, and one article or two beside each other.

import { History } from "./history.js";
import { Panel, capital, nameOf, versionOf } from "./panel.js";
import { read, reader } from "./stream.js";

const find = (id) => document.getElementById(id);
const [form, topic, template, parameters, write] = ["form", "topic", "template", "parameters", "write"].map(find);
const [length, temperature, topP, penalty, seed] = ["length", "temperature", "top-p", "penalty", "seed"].map(find);
const [compare, left, right, articles] = ["compare", "left", "right", "articles"].map(find);
const BETWEEN_LOOKS_MS = 1500; // while the model is being loaded, or the server is gone
const BETWEEN_CHECKS_MS = 10_000; // afterwards: a promotion changes what answers

let writing = null; // the AbortController of the requests under way
let templates = [];
let looking = 0; // the timer of the next look
let shown = ""; // the models that the page knows of, as JSON

const on = { say: (sentence) => (find("status").textContent = sentence), again, keep, retry, done: (article) => history.add(article) };
const panels = [new Panel(on), new Panel(on)];
articles.append(...panels.map((panel) => panel.element));
const history = new History(find("history"), { say: on.say, show: showEarlier });

// ---- what the server has ----------------------------------------------------------------------------------------

async function lookForModel() {
  clearTimeout(looking);
  const answer = await read("/readyz");
  const ready = answer?.status === "ready";
  if (ready && answer.models) showServer(answer);
  else showState(stateOf(answer, ready), false);
  clearTimeout(looking); // two looks at once leave one timer
  looking = setTimeout(lookForModel, ready ? BETWEEN_CHECKS_MS : BETWEEN_LOOKS_MS);
}

function stateOf(answer, ready) {
  if (ready) return "This server asks for an API key; reload the page and type it as the password";
  return answer ? "The model is loading" : "The server does not answer";
}

function showState(sentence, ready) {
  find("model").classList.toggle("ready", ready);
  if (find("model-text").textContent !== sentence) find("model-text").textContent = sentence;
  write.disabled = !ready && writing === null;
}

function showServer({ model, models, defaults, limits, topics }) {
  showState(models.length > 1 ? `${model.name} · ${models.length} versions` : nameOf(model), true);
  const now = JSON.stringify(models.map(({ id, stage, window }) => [id, stage, window]));
  if (now === shown) return;
  if (!shown) {
    showDefaults(defaults);
    showTopics(topics ?? []);
  } else on.say(`${nameOf(model)} answers now.`);
  shown = now;
  const windows = models.map(({ window }) => window).filter(Boolean); // 0 where it is not known
  length.max = Math.min(limits.max_tokens, ...windows);
  length.min = Math.min(20, length.max);
  if (!length.dataset.set) length.value = defaults.max_tokens;
  showModels(models);
  showSettings();
}

function showDefaults(defaults) {
  temperature.value = defaults.temperature;
  topP.value = defaults.top_p;
  penalty.value = defaults.repetition_penalty;
}

function showTopics(topics) {
  const buttons = topics.map((words) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "example", dir: "auto", textContent: words });
    button.addEventListener("click", () => {
      topic.value = words;
      form.requestSubmit();
    });
    return button;
  });
  find("examples").replaceChildren(...buttons);
}

function showModels(models) {
  const sameName = models.every((model) => model.name === models[0].name);
  const chosen = models.map((model) => new Option(sameName ? versionOf(model) : nameOf(model), model.id));
  const [former, formerRight] = [left.value, right.value];
  left.replaceChildren(new Option("the server chooses", ""), ...chosen.map((option) => option.cloneNode(true)));
  right.replaceChildren(...chosen);
  right.selectedIndex = Math.min(1, models.length - 1);
  for (const [list, value] of [[left, former], [right, formerRight]]) {
    if ([...list.options].some((option) => option.value === value)) list.value = value;
  }
}

async function lookForTemplates() {
  templates = (await read("/v1/templates"))?.templates ?? [];
  for (const { name } of templates) template.append(new Option(`Template: ${name.replaceAll("_", " ")}`, name));
}

// ---- the form ---------------------------------------------------------------------------------------------------

function showSettings() {
  find("length-shown").textContent = `${length.value} tokens`;
  find("temperature-shown").textContent = Number(temperature.value).toFixed(2);
  find("top-p-shown").textContent = Number(topP.value).toFixed(2);
  find("penalty-shown").textContent = Number(penalty.value).toFixed(2);
  find("clear-seed").hidden = seed.value === "";
  find("too-long").hidden = topic.value.length < topic.maxLength;
  const several = right.options.length > 1;
  find("first-model").hidden = !several;
  find("second-model").hidden = !several || !compare.checked;
  find("first-label").textContent = compare.checked ? "Left" : "Version";
  document.body.classList.toggle("two", compare.checked);
}

function showTemplate() {
  const chosen = templates.find(({ name }) => name === template.value);
  topic.hidden = topic.disabled = Boolean(chosen);
  parameters.hidden = !chosen;
  parameters.replaceChildren(...(chosen?.parameters ?? []).map(fieldFor));
  find("about").textContent = chosen ? capital(chosen.description) : "";
  find("about").hidden = !chosen?.description;
  find("ask").textContent = chosen ? "What should the article say?" : "What should the article be about?";
  find("ask").htmlFor = chosen ? (parameters.querySelector("input")?.id ?? "topic") : "topic";
  (parameters.querySelector("input") ?? topic).focus();
}

function fieldFor({ name, description, required, default: given }) {
  const label = document.createElement("label");
  const field = document.createElement("input");
  Object.assign(field, { id: `parameter-${name}`, name, required, maxLength: 300, dir: "auto", placeholder: given ?? "" });
  const words = document.createElement("span");
  words.textContent = name.replaceAll("_", " ");
  const hint = document.createElement("small");
  hint.textContent = description + (required ? "" : "  (optional)");
  label.append(words, field, hint);
  return label;
}

function subject() {
  if (!template.value) return { topic: topic.value };
  const given = [...parameters.querySelectorAll("input")].filter((field) => field.value.trim());
  return { template: template.value, parameters: Object.fromEntries(given.map((field) => [field.name, field.value])) };
}

function request(model) {
  return {
    ...subject(),
    model,
    user: reader(),
    max_tokens: Number(length.value),
    temperature: Number(temperature.value),
    top_p: Number(topP.value),
    repetition_penalty: Number(penalty.value),
    ...(seed.value && { seed: Number(seed.value) }),
  };
}

// ---- writing ----------------------------------------------------------------------------------------------------

// Two versions with one seed, or one version with two.
function requests() {
  if (!compare.checked) return [request(left.value)];
  const several = right.options.length > 1;
  const first = request(several ? left.value : "");
  const second = request(several ? right.value : "");
  if (several && !seed.value) first.seed = second.seed = crypto.getRandomValues(new Uint32Array(1))[0];
  if (!several && seed.value) second.seed += 1;
  return [first, second];
}

async function start() {
  const asked = requests();
  panels.forEach((panel, index) => (panel.element.hidden = index >= asked.length));
  articles.hidden = false;
  find("empty").hidden = find("problem").hidden = true;
  await follow((signal) => Promise.all(asked.map((each, index) => panels[index].write(each, signal))));
}

async function follow(write) {
  writing = new AbortController();
  on.say("Writing.");
  showButton();
  await write(writing.signal);
  writing = null;
  showButton();
  lookForModel(); // after an error it may be gone, or another
}

// The same request once more, in the panel where it failed.
function retry(panel) {
  if (!writing) follow((signal) => panel.write(panel.request, signal));
}

function showEarlier(article) {
  if (writing) return;
  panels[0].element.hidden = articles.hidden = false;
  panels[1].element.hidden = find("empty").hidden = true;
  panels[0].showWhole(article);
  articles.scrollIntoView({ block: "start" });
}

function showButton() {
  write.textContent = writing ? "Stop" : "Write";
  write.classList.toggle("stop", writing !== null);
}

function again() {
  if (writing) return;
  seed.value = "";
  showSettings();
  form.requestSubmit();
}

function keep(value) {
  seed.value = value;
  showSettings();
  seed.scrollIntoView({ block: "center" });
  seed.focus();
}

// ---- clicks and keys --------------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (writing) writing.abort();
  else start();
});
form.addEventListener("input", showSettings);
length.addEventListener("input", () => (length.dataset.set = "yes")); // the reader's own choice stays
document.addEventListener("visibilitychange", () => {
  clearTimeout(looking); // nobody looks at a hidden page
  if (!document.hidden) lookForModel();
});
template.addEventListener("change", showTemplate);
compare.addEventListener("change", () => {
  if (compare.checked && !left.value && left.options.length > 2) left.selectedIndex = 1;
});
find("clear-seed").addEventListener("click", () => {
  seed.value = "";
  showSettings();
  seed.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && writing) writing.abort();
});

showSettings();
lookForModel();
lookForTemplates();
