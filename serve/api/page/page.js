"use strict";
// The page at "/": shows where a text goes while it is typed, and streams its continuation.

const at = (id) => document.getElementById(id);
const key = at("key");
key.value = sessionStorage.getItem("key") || "";

function headers() {
  const found = { "content-type": "application/json" };
  if (key.value) found.authorization = `Bearer ${key.value}`;
  return found;
}

async function ask(path, body, signal) {
  const method = body ? "POST" : "GET";
  const answer = await fetch(path, { method, headers: headers(), body: body && JSON.stringify(body), signal });
  if (answer.status === 401) document.querySelector(".key").hidden = false;
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Error(said?.error?.message || `status ${answer.status}`);
}

function problem(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function made(tag, kind, text, label) {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  if (label) element.style.setProperty("--hue", hue(label));
  return element;
}

function hue(label) {
  let sum = 0;
  for (const letter of label) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return (sum * 137) % 360;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// What the router says, at most one question at a time: the newest text is asked when the last answer is there.
let asking = false;
let asked = "";

async function route() {
  const text = at("prompt").value;
  if (asking || text === asked) return;
  asking = true;
  asked = text;
  try {
    if (text) show((await (await ask("v1/route", { input: text })).json()).data[0]);
    else clear();
    problem("");
  } catch (error) {
    problem(error.message);
  } finally {
    asking = false;
    if (at("prompt").value !== asked) setTimeout(route, 60);
  }
}

function clear() {
  for (const id of ["route", "probabilities", "reasons"]) at(id).replaceChildren();
  at("spans").textContent = "";
}

function show(row) {
  const goes = row.expert || "refused";
  at("route").replaceChildren(made("span", "badge", goes, goes), ` ${row.reason}`);
  const shares = Object.entries(row.probabilities).sort((one, other) => other[1] - one[1]);
  at("probabilities").replaceChildren(...shares.map(([name, share]) => {
    const bar = made("div", "bar", "");
    const length = made("i", "", "", name);
    length.style.width = `${100 * share}%`;
    bar.append(made("span", "", name), length, made("b", "", percent(share)));
    return bar;
  }));
  const spans = row.spans.map((span) => {
    const part = made("span", "span", span.text, span.label);
    part.title = span.label;
    return part;
  });
  at("spans").replaceChildren(...(spans.length ? spans : ["The text is of one language."]));
  at("reasons").replaceChildren(...row.reasons.map((each) => {
    const part = made("span", "reason", each.feature.replaceAll("\n", "⏎"));
    part.title = each.weight.toFixed(2);
    return part;
  }));
}

// An answer as it grows.
let running = null;

async function go(event) {
  event.preventDefault();
  running?.abort();
  const mine = (running = new AbortController());
  const body = {
    model: at("model").value,
    prompt: at("prompt").value,
    max_tokens: Number(at("tokens").value),
    temperature: Number(at("temperature").value),
    stream: true,
    stream_options: { include_usage: true },
  };
  at("answer").textContent = "";
  at("figures").textContent = "";
  at("expert").replaceChildren();
  at("stop").disabled = false;
  problem("");
  try {
    await read(await ask("v1/completions", body, mine.signal));
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  } finally {
    if (running === mine) at("stop").disabled = true;
  }
}

async function read(answer) {
  const begun = performance.now();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let whole = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) whole = take(event, begun) || whole;
  }
  if (!whole) throw new Error("the answer was cut off");
}

function take(event, begun) {
  const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
  if (data === "[DONE]") return true;
  if (!data) return false;
  const chunk = JSON.parse(data);
  if (chunk.error) throw new Error(chunk.error.message);
  if (chunk.route) {
    at("expert").replaceChildren(made("span", "badge", chunk.route.expert, chunk.route.expert), ` ${chunk.route.reason}`);
  }
  for (const choice of chunk.choices) at("answer").append(choice.text);
  if (chunk.usage) {
    const seconds = (performance.now() - begun) / 1000;
    const count = chunk.usage.completion_tokens;
    at("figures").textContent = `${count} tokens, ${(count / Math.max(seconds, 1e-3)).toFixed(0)} a second`;
  }
  return false;
}

async function state() {
  try {
    const health = await (await fetch("health")).json();
    at("state").textContent = `${health.experts.length} experts, version ${health.version}`;
    const models = (await (await ask("v1/models")).json()).data.map((model) => model.id);
    at("model").replaceChildren(...models.map((name) => made("option", "", name)));
    problem("");
  } catch (error) {
    problem(error.message);
  }
}

key.addEventListener("change", () => {
  sessionStorage.setItem("key", key.value);
  asked = "";
  state().then(route);
});
at("prompt").addEventListener("input", route);
at("form").addEventListener("submit", go);
at("stop").addEventListener("click", () => running?.abort());
state().then(route);
