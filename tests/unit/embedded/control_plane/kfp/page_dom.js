// The least of a browser that the page needs: elements with text, a location, and fetch with the answers given.
"use strict";
const fs = require("fs"), [script, hash, answers] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
class Node {
  constructor(name) { this.name = name; this.children = []; this.attributes = {}; this.listeners = {}; }
  appendChild(child) { this.children.push(child); return child; }
  setAttribute(key, value) { this.attributes[key] = value; }
  addEventListener(kind, deed) { this.listeners[kind] = deed; }
  replaceChildren(...children) { this.children = children; }
}
const main = new Node("main"), asked = [];
const text = node => [node.textContent || "", ...node.children.map(text)].filter(Boolean).join("|");
const all = (node, name) => [...(node.name === name ? [node] : []), ...node.children.flatMap(child => all(child, name))];
Object.assign(globalThis, {
  Node, location: {hash}, addEventListener() {},
  document: {querySelector: () => main, createElement: name => new Node(name)},
  fetch: async url => {
    asked.push(url);
    const found = answers[url.split("?")[0]];
    return {status: found === undefined ? 404 : found === 401 ? 401 : 200, ok: typeof found === "object",
      json: async () => found || {message: "not known"}, text: async () => String(found)};
  },
});
new Function(fs.readFileSync(script, "utf8"))();
setTimeout(() => console.log(JSON.stringify({
  text: text(main), asked, hrefs: all(main, "a").map(a => a.attributes.href), names: all(main, "script").length,
})), 20);
