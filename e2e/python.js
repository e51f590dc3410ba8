// Runs clients in Python, each set of packages in an environment of its own.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// environment installs a file of requirements beside this one, and returns a function that runs one function of a script in it,
// with more environment variables. The function returns the script's output where stdio is "pipe". The environment is gone when the
// process ends.
export function environment(requirements) {
  const here = import.meta.dirname;
  const venv = mkdtempSync(join(tmpdir(), "retrieverkeys-python-"));
  process.on("exit", () => rmSync(venv, { recursive: true, force: true }));
  const python = join(venv, "bin/python");
  execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
  execFileSync(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", join(here, requirements)], { stdio: "inherit" });
  return (script, name, env, stdio = "inherit") => execFileSync(python, [join(here, script), name], { env: { ...process.env, ...env }, stdio: ["inherit", stdio, "inherit"] });
}
