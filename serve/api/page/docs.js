"use strict";
// The page at "/docs": what openapi.json says, as tables.

const at = (id) => document.getElementById(id);
const key = at("key");
key.value = sessionStorage.getItem("key") || "";

function made(tag, kind, ...content) {
  const element = document.createElement(tag);
  element.className = kind;
  element.append(...content);
  return element;
}

const named = (whole, schema) => (schema?.$ref ? whole.components.schemas[schema.$ref.split("/").pop()] : schema);

function kind(whole, schema) {
  if (!schema) return "";
  if (schema.anyOf) return schema.anyOf.map((each) => kind(whole, each)).filter((each) => each !== "null").join(" or ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(", ");
  if (schema.type === "array") return `list of ${kind(whole, schema.items)}`;
  const limits = [
    ["minimum", "≥"], ["maximum", "≤"], ["exclusiveMinimum", ">"], ["exclusiveMaximum", "<"], ["minLength", "length ≥"],
    ["maxLength", "length ≤"], ["maxProperties", "entries ≤"],
  ].filter(([name]) => name in schema).map(([name, sign]) => `${sign} ${schema[name].toLocaleString("en")}`);
  return [schema.type || "anything", ...limits].join(" ");
}

function table(whole, schema) {
  const needed = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([name, field]) => made(
    "tr", "",
    made("td", "", made("code", "", name), needed.has(name) ? " *" : ""),
    made("td", "quiet", kind(whole, field)),
    made("td", "", field.description || ""),
  ));
  return made("table", "", ...rows);
}

function operation(whole, path, method, said) {
  const found = made("article", "", made("h2", "", made("code", "", `${method.toUpperCase()} ${path}`)));
  found.append(made("p", "", said.description || ""));
  const body = named(whole, said.requestBody?.content["application/json"].schema);
  if (body) found.append(made("h3", "", "Body"), table(whole, body));
  const answer = named(whole, said.responses["200"]?.content?.["application/json"]?.schema);
  if (answer?.properties) found.append(made("details", "", made("summary", "quiet", "Answer"), table(whole, answer)));
  return found;
}

async function show() {
  const given = key.value ? { authorization: `Bearer ${key.value}` } : {};
  const answer = await fetch("openapi.json", { headers: given });
  const whole = await answer.json();
  if (!answer.ok) {
    document.querySelector(".key").hidden = false;
    at("operations").replaceChildren(made("p", "problem", whole.error.message));
    return;
  }
  at("about").textContent = `${whole.info.version} · ${whole.info.description}`;
  const found = Object.entries(whole.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, said]) => operation(whole, path, method, said)));
  const parts = Object.entries(whole.components.schemas).filter(([, schema]) => schema.properties).map(([name, schema]) =>
    made("details", "", made("summary", "", made("code", "", name)), made("p", "quiet", schema.description || ""), table(whole, schema)));
  at("operations").replaceChildren(...found, made("h2", "", "Parts"), ...parts);
}

key.addEventListener("change", () => {
  sessionStorage.setItem("key", key.value);
  show();
});
show();
