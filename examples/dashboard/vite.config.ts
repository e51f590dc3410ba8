import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page and the API have one origin here, so no CORS is needed. In production, put both behind one proxy too.
const proxy = { "/graphql": process.env["API"] ?? "http://127.0.0.1:8080" };

export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", proxy },
  preview: { host: "127.0.0.1", proxy },
});
