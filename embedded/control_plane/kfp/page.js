"use strict";
const api = "/apis/v2beta1/", main = document.querySelector("main");
let token = "", turn = 0;
function el(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}
function add(parent, ...children) { children.forEach(child => parent.appendChild(child)); return parent; }
async function ask(route, asText) {
  const headers = token ? {authorization: "Bearer " + token} : {};
  const answer = await fetch(api + route, {headers});
  if (answer.status === 401) throw {needsToken: true};
  if (!answer.ok) {
    let told = answer.status;
    try { told = (await answer.json()).message || told; } catch (error) { /* no JSON: the status says it */ }
    throw {text: told};
  }
  return asText ? answer.text() : answer.json();
}
const id = encodeURIComponent;
const when = text => text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC") : "";
const link = (text, route) => el("a", text, {href: "#/" + route});
function table(heads, rows) {
  const made = el("table");
  add(made, add(el("tr"), ...heads.map(head => el("th", head))));
  rows.forEach(cells => add(made, add(el("tr"), ...cells.map(cell => cell instanceof Node ? add(el("td"), cell) : el("td", cell)))));
  return made;
}
const state = text => el("span", text, {class: /^[A-Z]+$/.test(text || "") ? text : ""});
const runRow = run => [link(run.display_name, "runs/details/" + id(run.run_id)), state(run.state), when(run.created_at),
  when(run.finished_at), run.error ? run.error.message : ""];
const runTable = runs => table(["run", "state", "created", "finished", "error"], (runs || []).map(runRow));
function tree(tasks) {
  const below = Object.create(null);
  tasks.forEach(task => (below[task.parent_task_id || ""] = below[task.parent_task_id || ""] || []).push(task));
  const known = new Set(tasks.map(task => task.task_id)), rows = [];
  const walk = (task, depth) => {
    rows.push([task, depth]);
    if (depth < 60) (below[task.task_id] || []).forEach(child => walk(child, depth + 1));
  };
  tasks.filter(task => !known.has(task.parent_task_id)).forEach(task => walk(task, 0));
  return rows;
}
function logLink(run, task, shown) {
  const made = el("a", "log", {href: location.hash});
  made.addEventListener("click", async event => {
    event.preventDefault();
    try { shown.textContent = await ask("runs/" + id(run.run_id) + "/tasks/" + task.task_id.split("/").map(id).join("/") + "/log", true); }
    catch (error) { shown.textContent = error.text || String(error); }
    shown.hidden = false;
  });
  return made;
}
async function showRun(runId) {
  const run = await ask("runs/" + id(runId)), shown = el("pre", "", {hidden: ""});
  const parts = [el("h1", run.display_name), add(el("p"), state(run.state),
    el("span", "  created " + when(run.created_at) + (run.finished_at ? ", finished " + when(run.finished_at) : "")))];
  if (run.error) parts.push(el("p", run.error.message, {class: "error"}));
  if (run.experiment_id) parts.push(add(el("p"), link("all runs of this experiment", "experiments/details/" + id(run.experiment_id))));
  const tasks = (run.run_details || {}).task_details || [];
  parts.push(el("h2", "Tasks"), table(["task", "state", "started", "ended", "", "why"], tree(tasks).map(([task, depth]) => [
    "\u00a0".repeat(4 * depth) + task.display_name, state(task.state), when(task.start_time), when(task.end_time),
    logLink(run, task, shown), task.error ? task.error.message : task.reason || ""])), shown);
  const artifacts = (await ask("runs/" + id(runId) + "/artifacts")).artifacts || [];
  parts.push(el("h2", "Artifacts"), table(["task", "output", "type", "place"], artifacts.map(each => [each.task_id, each.output,
    each.type, (each.url || "").startsWith(api) ? el("a", each.uri, {href: each.url, rel: "noopener"}) : each.uri])));
  return parts;
}
async function showExperiment(experimentId) {
  const found = await ask("experiments/" + id(experimentId));
  const runs = await ask("runs?page_size=200&sort_by=" + id("created_at desc") + "&experiment_id=" + id(experimentId));
  return [el("h1", "Experiment " + found.display_name), el("p", found.description || ""), runTable(runs.runs)];
}
async function showPipeline(pipelineId) {
  const found = await ask("pipelines/" + id(pipelineId));
  const versions = await ask("pipelines/" + id(pipelineId) + "/versions?page_size=200&sort_by=" + id("created_at desc"));
  return [el("h1", "Pipeline " + found.display_name), el("p", found.description || ""), table(["version", "created", "id"],
    (versions.pipeline_versions || []).map(each => [each.display_name, when(each.created_at), each.pipeline_version_id]))];
}
async function showList(kind) {
  const found = await ask(kind + "?page_size=200&sort_by=" + id("created_at desc"));
  if (kind === "runs") return [el("h1", "Runs"), runTable(found.runs)];
  const one = kind === "pipelines" ? "pipeline_id" : "experiment_id";
  return [el("h1", kind === "pipelines" ? "Pipelines" : "Experiments"), table(["name", "created"],
    (found[kind] || []).map(each => [link(each.display_name, kind + "/details/" + id(each[one])), when(each.created_at)]))];
}
const views = {runs: showRun, experiments: showExperiment, pipelines: showPipeline};
function askToken() {
  const field = el("input", "", {type: "password", "aria-label": "token"}), form = add(el("form"), field, el("button", "Use it"));
  form.addEventListener("submit", event => { event.preventDefault(); token = field.value; show(); });
  return [el("p", "This API asks for a token (--kfp-token-file of the server). It stays in this page."), form];
}
async function show() {
  const mine = ++turn, parts = location.hash.replace(/^#\/?/, "").split("?")[0].split("/");
  const kind = Object.prototype.hasOwnProperty.call(views, parts[0]) ? parts[0] : "runs";
  let shown;
  try {
    const wanted = parts[1] === "details" && parts[2] ? decodeURIComponent(parts[2]) : "";
    shown = wanted ? await views[kind](wanted) : await showList(kind);
  } catch (error) {
    shown = error.needsToken ? askToken() : [el("p", error.text || String(error), {class: "error"})];
  }
  if (mine === turn) { main.replaceChildren(...shown); }
}
addEventListener("hashchange", show);
show();
