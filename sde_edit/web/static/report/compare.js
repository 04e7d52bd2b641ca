"use strict";

// Two runs example by example, by a metric; and which examples are shown, in which order.
report.compare = (() => {
  // As the program's own comparison: a difference within rounding is none.
  function gain(a, b, { higher, tolerance }, rounding) {
    const limit = Math.max(tolerance, rounding * Math.max(Math.abs(a), Math.abs(b)));
    return Math.abs(a - b) <= limit ? 0 : (higher ? 1 : -1) * (a - b);
  }

  function value(run, metric, id) {
    const place = run?.place.get(id);
    return place === undefined ? null : (run.metrics[metric]?.values[place] ?? null);
  }

  // The mask that a run's task found.
  function maskOf(run, { id }) {
    return run?.masks[run.place.get(id)];
  }

  // Each example that A has, with both values and the advantage of A; null where one is unknown.
  function items(examples, a, b, metric, rounding) {
    const tolerance = Math.max(a.metrics[metric]?.tolerance ?? 0, b?.metrics[metric]?.tolerance ?? 0);
    const measure = { ...a.metrics[metric], tolerance };
    return examples.filter((example) => a.place.has(example.id)).map((example) => {
      const [of_a, of_b] = [value(a, metric, example.id), value(b, metric, example.id)];
      const known = of_a !== null && of_b !== null;
      const mask = maskOf(a, example) ?? maskOf(b, example) ?? example.mask;
      return { example, mask, a: of_a, b: of_b, gain: known ? gain(of_a, of_b, measure, rounding) : null };
    });
  }

  const VERDICTS = {
    a: (item) => item.gain > 0,
    b: (item) => item.gain !== null && item.gain < 0,
    equal: (item) => item.gain === 0,
  };

  function fits(item, { verdict, from, to, category, words }) {
    const { id, caption = "", target = "" } = item.example;
    const hidden = item.mask?.hidden ?? null;
    const text = `${id} ${caption} ${target}`.toLowerCase();
    return (
      (VERDICTS[verdict]?.(item) ?? true) &&
      (from === "" || (hidden !== null && 100 * hidden >= Number(from))) &&
      (to === "" || (hidden !== null && 100 * hidden <= Number(to))) &&
      (category === "" || item.example.category === category) &&
      words.toLowerCase().split(/\s+/).every((word) => text.includes(word))
    );
  }

  // What an order sorts by; examples without it come last, ties in the order of the ids.
  const ORDERS = {
    first: { label: "A better first", key: (item) => -item.gain, needs: "gain" },
    last: { label: "B better first", key: (item) => item.gain, needs: "gain" },
    most: { label: "largest difference first", key: (item) => -Math.abs(item.gain), needs: "gain" },
    a: { label: "A, low first", key: (item) => item.a, needs: "a" },
    "-a": { label: "A, high first", key: (item) => -item.a, needs: "a" },
    b: { label: "B, low first", key: (item) => item.b, needs: "b" },
    "-b": { label: "B, high first", key: (item) => -item.b, needs: "b" },
    id: { label: "id", key: () => 0, needs: null },
  };

  function ordered(items, name) {
    const { key, needs } = ORDERS[name] ?? ORDERS.id;
    const unknown = (item) => needs !== null && item[needs] === null;
    return [...items].sort((a, b) => unknown(a) - unknown(b) || key(a) - key(b) || 0);
  }

  function chosen(items, state) {
    return ordered(items.filter((item) => fits(item, state)), state.sort);
  }

  return { items, chosen, value, VERDICTS, ORDERS };
})();
