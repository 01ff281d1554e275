// Starts and stops the server under test on a free port, in memory.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function startServer(binary) {
  const directory = mkdtempSync(join(tmpdir(), "chroma-js-"));
  const config = join(directory, "config.yaml");
  writeFileSync(config, "port: 0\nlisten_address: 127.0.0.1\nallow_reset: true\n");
  const child = spawn(binary, ["run", config, "--ephemeral"], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", (code) => resolve(code)));
  let log = "";
  const port = await new Promise((resolve, reject) => {
    const look = (data) => {
      log += data;
      const found = log.match(/Connect to Chroma at: http:\/\/[^:\s]+:(\d+)/);
      if (found) resolve(Number(found[1]));
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.on("error", reject);
    ended.then((code) => reject(new Error(`the server ended with ${code}:\n${log}`)));
  });
  const stop = async () => {
    child.kill("SIGTERM");
    const code = await ended;
    rmSync(directory, { recursive: true, force: true });
    return code;
  };
  return { port, stop };
}
