"use strict";

// A page that is opened from a file may not fetch: its data are scripts that call `report.put`.
const report = (() => {
  const root = new URL("../../", document.currentScript.src); // the report's folder
  const asked = new Map();

  function address(path) {
    return new URL(path, root).href;
  }

  // The data of a key. They are read once.
  function load(key) {
    if (!asked.has(key)) asked.set(key, request(key));
    return asked.get(key).promise;
  }

  function request(key) {
    const answer = Promise.withResolvers();
    const script = document.createElement("script");
    script.src = address(`data/${key.split("/").map(encodeURIComponent).join("/")}.js`);
    script.onerror = () => answer.reject(new Error(`data/${key}.js cannot be read. Write the report again.`));
    document.head.append(script);
    return answer;
  }

  function put(key, value) {
    asked.get(key)?.resolve(value);
  }

  // An element with these properties and children; texts are never read as HTML.
  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  return { address, load, put, element };
})();
