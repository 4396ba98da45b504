// @ts-check
// Two texts -> the lines that went, came and stayed. Pure.

const CONTEXT = 2; // lines around a change that are shown
const MOST = 2000; // lines of a text that are compared

/** @typedef {{kind: "same" | "out" | "in" | "gap", text: string}} DiffLine */

/**
 * @param {string} before
 * @param {string} after
 * @returns {DiffLine[]}
 */
export function difference(before, after) {
  const a = before === "" ? [] : before.replace(/\n$/, "").split("\n").slice(0, MOST);
  const b = after === "" ? [] : after.replace(/\n$/, "").split("\n").slice(0, MOST);
  // the longest common subsequence, from the end
  const length = Array.from({length: a.length + 1}, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  /** @type {DiffLine[]} */
  const lines = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({kind: "same", text: a[i]});
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || length[i + 1][j] >= length[i][j + 1])) {
      lines.push({kind: "out", text: a[i]});
      i += 1;
    } else {
      lines.push({kind: "in", text: b[j]});
      j += 1;
    }
  }
  return shortened(lines);
}

/** @param {DiffLine[]} lines */
function shortened(lines) {
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(({kind}) => kind !== "same"));
  /** @type {DiffLine[]} */
  const kept = [];
  lines.forEach((line, at) => {
    if (near[at]) kept.push(line);
    else if (kept.length > 0 && kept[kept.length - 1].kind !== "gap") kept.push({kind: "gap", text: "…"});
  });
  if (kept.length > 0 && kept[kept.length - 1].kind === "gap") kept.pop();
  return kept;
}
