// Which methods the client's declarations (chromadb.d.ts) promise, and which of them the tests called.
import { readFileSync } from "node:fs";

// The names of the methods in the body of the declaration that begins with `head`, without accessors and fields.
function declaredMethods(text, head) {
  const begin = text.indexOf(`\n${head} {\n`);
  if (begin < 0) throw new Error(`${head} is not in the client's declarations`);
  const body = text.slice(begin, text.indexOf("\n}", begin));
  const names = [...body.matchAll(/^ {4}([A-Za-z_]\w*)(?:<[^(]*>)?\(/gm)].map((m) => m[1]);
  const methods = new Set(names.filter((n) => n !== "constructor"));
  if (methods.size === 0) throw new Error(`${head} has no methods`);
  return methods;
}

// Watches `examples`: [declaration, an object of that type] pairs. Each declared method is replaced, where the object's
// type has it, by one that notes the call. The function that comes back tells what was never called.
export function watchMethods(declarations, examples) {
  const text = readFileSync(declarations, "utf8");
  const missing = new Set();
  for (const [head, example] of examples)
    for (const name of declaredMethods(text, head)) {
      const full = `${head.split(" ").pop()}.${name}`;
      const prototype = Object.getPrototypeOf(example);
      const method = prototype[name];
      if (typeof method !== "function") throw new Error(`${full} is declared but not there`);
      missing.add(full);
      prototype[name] = function (...args) {
        missing.delete(full);
        return method.apply(this, args);
      };
    }
  return () => [...missing].sort();
}
