// Gateways that others wrote, each with its configuration in docs/gate.md.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { environment } from "../python.js";

const folder = mkdtempSync(join(tmpdir(), "retrieverkeys-gate-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const guide = readFileSync(join(import.meta.dirname, "../../docs/gate.md"), "utf8");

// example returns the configuration below a heading of docs/gate.md, with this test's ports.
function example(heading, ports) {
  const [, text] = new RegExp(`^## ${heading}\\n.*?^\`\`\`[a-z]+\\n(.*?)^\`\`\``, "ms").exec(guide);
  return text.replace(/\b(8000|8080|9000)\b/g, (port) => ports[{ 8000: "gate", 8080: "keys", 9000: "platform" }[port]]);
}

const write = (name, text) => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

// run starts a program and resolves when it listens on the port. The result's stop ends it.
async function run(port, program, ...args) {
  const child = spawn(program, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder }, stdio: ["ignore", "pipe", "pipe"] });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output.push(data));
  let ended = false;
  const exited = new Promise((resolve) => {
    child.once("error", (error) => resolve(output.push(String(error))));
    child.once("exit", resolve);
  }).then(() => { ended = true; });
  const listens = () => new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true)).on("error", () => resolve(false)).on("close", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
  while (!ended && !await listens()) await sleep(50);
  if (ended) throw new Error(`${program} ended:\n${Buffer.concat(output.map(Buffer.from))}`);
  return {
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

export function nginx(ports) {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${join(folder, kind)};`).join("\n");
  const config = write("nginx.conf", `
    daemon off; master_process off; pid ${join(folder, "nginx.pid")}; error_log stderr crit;
    events {}
    http { access_log off; ${temporary} ${example("nginx", ports)} }
  `);
  return run(ports.gate, process.env.NGINX ?? "/usr/sbin/nginx", "-c", config, "-e", "stderr");
}

let packages;
const packed = (name) => join((packages ??= environment("requirements-gate.txt")).bin, name);

export function envoy(ports) {
  const config = write("envoy.yaml", example("Envoy", ports));
  return run(ports.gate, packed("envoy"), "--config-path", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error");
}

export function traefik(ports) {
  const config = write("dynamic.yml", example("Traefik", ports));
  return run(ports.gate, packed("traefik"), `--entryPoints.gate.address=127.0.0.1:${ports.gate}`, `--providers.file.filename=${config}`,
    "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR");
}

export function caddy(ports) {
  const config = write("Caddyfile", `{\nadmin off\npersist_config off\nauto_https off\ndefault_bind 127.0.0.1\n}\n${example("Caddy", ports)}`);
  return run(ports.gate, packed("caddy"), "run", "--config", config, "--adapter", "caddyfile");
}
