// Node-RED as the peer of the benchmark `path`: no editor, no diagnostics, the passes in memory as gated has them.
const fs = require("fs");
const world = JSON.parse(fs.readFileSync(process.env.BENCH_WORLD, "utf8"));

module.exports = {
    uiHost: "127.0.0.1",
    uiPort: Number(process.env.BENCH_PORT),
    userDir: process.env.BENCH_FOLDER,
    nodesDir: [],
    flowFile: process.env.BENCH_FLOW,
    credentialSecret: false,
    httpAdminRoot: false,
    editorTheme: { tours: false },
    telemetry: { enabled: false },
    diagnostics: { enabled: false, ui: false },
    runtimeState: { enabled: false, ui: false },
    apiMaxLength: "4mb",
    functionExternalModules: false,
    functionTimeout: 0,
    logging: { console: { level: "warn", metrics: false, audit: false } },
    functionGlobalContext: {
        passes: new Map(world.passes.map((row) => [row.plate, row])),
        cameras: new Map(world.cameras.map((row) => [row.id, row])),
    },
};
