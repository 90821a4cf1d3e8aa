// The page: what to write about and how, and one article or two beside each other.

import { Panel, capital, nameOf, versionOf } from "./panel.js";
import { read, reader } from "./stream.js";

const find = (id) => document.getElementById(id);
const [form, topic, template, parameters, write] = ["form", "topic", "template", "parameters", "write"].map(find);
const [length, temperature, topP, penalty, seed] = ["length", "temperature", "top-p", "penalty", "seed"].map(find);
const [compare, left, right, articles] = ["compare", "left", "right", "articles"].map(find);
const BETWEEN_LOOKS_MS = 1500; // while the model is being loaded

let writing = null; // the AbortController of the requests under way
let templates = [];

const on = { say: (sentence) => (find("status").textContent = sentence), again, keep };
const panels = [new Panel(on), new Panel(on)];
articles.append(...panels.map((panel) => panel.element));

// ---- what the server has ----------------------------------------------------------------------------------------

async function lookForModel() {
  const answer = await read("/readyz");
  if (answer?.status !== "ready") {
    find("model-text").textContent = answer ? "The model is loading" : "The server does not answer";
    setTimeout(lookForModel, BETWEEN_LOOKS_MS);
    return;
  }
  const { model, models, defaults, limits } = answer;
  find("model").classList.add("ready");
  find("model-text").textContent = models.length > 1 ? `${model.name} · ${models.length} versions` : nameOf(model);
  length.max = limits.max_tokens;
  length.min = Math.min(20, limits.max_tokens);
  length.value = defaults.max_tokens;
  temperature.value = defaults.temperature;
  topP.value = defaults.top_p;
  penalty.value = defaults.repetition_penalty;
  showModels(models);
  showSettings();
  write.disabled = false;
}

function showModels(models) {
  const sameName = models.every((model) => model.name === models[0].name);
  const chosen = models.map((model) => new Option(sameName ? versionOf(model) : nameOf(model), model.id));
  left.replaceChildren(new Option("the server chooses", ""), ...chosen.map((option) => option.cloneNode(true)));
  right.replaceChildren(...chosen);
  right.selectedIndex = Math.min(1, models.length - 1);
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
  Object.assign(field, { id: `parameter-${name}`, name, required, maxLength: 300, placeholder: given ?? "" });
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
  writing = new AbortController();
  const asked = requests();
  panels.forEach((panel, index) => (panel.element.hidden = index >= asked.length));
  articles.hidden = false;
  find("empty").hidden = find("problem").hidden = true;
  on.say("Writing.");
  showButton();
  await Promise.all(asked.map((each, index) => panels[index].write(each, writing.signal)));
  writing = null;
  showButton();
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
