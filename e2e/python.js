// Runs Python clients, each set of packages in its own virtual environment.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// environment installs a requirements file of this folder and returns a function that runs functions of a script in the environment, with
// additional environment variables. It returns the script's output if stdio is "pipe". Its bin is the folder of the programs that the packages
// have. The environment is deleted when the process ends.
export function environment(requirements) {
  const here = import.meta.dirname;
  const venv = mkdtempSync(join(tmpdir(), "retrieverkeys-python-"));
  process.on("exit", () => rmSync(venv, { recursive: true, force: true }));
  const python = join(venv, "bin/python");
  execFileSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
  execFileSync(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", join(here, requirements)], { stdio: "inherit" });
  const run = (script, names, env, stdio = "inherit") => execFileSync(python, [join(here, script), ...[names].flat()], { env: { ...process.env, ...env }, stdio: ["inherit", stdio, "inherit"] });
  return Object.assign(run, { bin: join(venv, "bin") });
}
