PRAGMA user_version = 6;
BEGIN TRANSACTION;
CREATE TABLE budgets (notebook TEXT PRIMARY KEY, budget_usd TEXT NOT NULL);
INSERT INTO "budgets" VALUES('clips.ipynb','5.00');
CREATE TABLE media (
            sha256 TEXT NOT NULL, run_id TEXT NOT NULL, output INTEGER NOT NULL, frame INTEGER,
            PRIMARY KEY (sha256, run_id, output)
        ) WITHOUT ROWID
        ;
INSERT INTO "media" VALUES('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','01KAJ0000000000000000K3F9A',0,NULL);
CREATE TABLE runs (
            run_id TEXT NOT NULL PRIMARY KEY, short_id TEXT NOT NULL, state TEXT NOT NULL,
            model TEXT NOT NULL, run_path TEXT NOT NULL, service TEXT NOT NULL, base_url TEXT NOT NULL,
            created TEXT NOT NULL, submitting_at TEXT, submitted_at TEXT, started_at TEXT, finished_at TEXT,
            compute_s REAL, request_sha256 TEXT NOT NULL, schema_sha256 TEXT,
            notebook TEXT, cell_id TEXT, source_sha256 TEXT, origin TEXT NOT NULL,
            task_id TEXT, task_token TEXT, exit_code TEXT, estimated_usd TEXT, cost_usd TEXT,
            stage TEXT NOT NULL DEFAULT '', percent REAL, message TEXT NOT NULL DEFAULT '',
            starred INTEGER NOT NULL DEFAULT 0, queue_order INTEGER,
            lease_owner TEXT, lease_until TEXT, deleted INTEGER NOT NULL DEFAULT 0,
            signature TEXT NOT NULL DEFAULT '', work REAL, folder TEXT, parent TEXT,
            -- Long texts come last, so that a scan of what stands before them skips their pages.
            search_text TEXT NOT NULL DEFAULT '', request TEXT NOT NULL, outputs TEXT NOT NULL DEFAULT '[]',
            error TEXT, uploaded TEXT, record TEXT
        , sweep_id TEXT, sweep_point INTEGER, cancel_at TEXT, scope TEXT, account TEXT);
INSERT INTO "runs" VALUES('01KAJ0000000000000000K3F9A','k3f9a','succeeded','wiro/animate-diff','wiro/animate-diff','cloud','https://api.wiro.ai/v1','2026-11-21T08:55:00.000000Z','2026-11-21T08:55:00.000000Z','2026-11-21T08:55:00.000000Z','2026-11-21T08:56:00.000000Z','2026-11-21T08:57:00.000000Z',60.0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',NULL,'clips.ipynb',NULL,NULL,'python','2220','sample-token-0','0','0.12','0.1200','queued',NULL,'',0,NULL,NULL,NULL,0,'steps=16',16.0,NULL,NULL,'01kaj0000000000000000k3f9a
wiro/animate-diff
a fox – été
16','{"files":{},"parameters":{"prompt":"a fox – été","steps":"16"},"seed":{"parameter":"seed","pinned":true,"value":"42"}}','[{"content":null,"content_type":"video/mp4","duration_s":null,"fps":null,"frames":null,"height":512,"name":"clip.mp4","path":null,"poster_path":null,"problem":"","sha256":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size_bytes":1000,"stored_sha256":null,"url":null,"width":512}]',NULL,NULL,'{"format":1}',NULL,NULL,NULL,'clips.ipynb',NULL);
INSERT INTO "runs" VALUES('01KAJ0000000000000000P7Q2B','p7q2b','submitted','wiro/animate-diff','wiro/animate-diff','cloud','https://api.wiro.ai/v1','2026-11-21T09:00:00.000000Z','2026-11-21T09:00:04.000000Z','2026-11-21T09:00:05.000000Z',NULL,NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',NULL,'clips.ipynb',NULL,NULL,'python','2221','sample-token-1',NULL,'0.12',NULL,'queued',NULL,'',0,NULL,NULL,NULL,0,'',NULL,NULL,NULL,'01kaj0000000000000000p7q2b
wiro/animate-diff
rain','{"files":{},"parameters":{"prompt":"rain"},"seed":null}','[]',NULL,NULL,NULL,'01KAJ00000000000000000SWEEP',0,NULL,'clips.ipynb',NULL);
CREATE INDEX runs_by_short ON runs (short_id);
CREATE INDEX runs_by_time ON runs (created, run_id);
CREATE INDEX runs_by_notebook ON runs (notebook, created, run_id);
CREATE INDEX runs_by_state ON runs (state, created, run_id);
CREATE INDEX runs_by_model ON runs (model COLLATE NOCASE, created, run_id);
CREATE INDEX runs_by_request ON runs (request_sha256, created, run_id);
CREATE INDEX runs_by_task ON runs (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX runs_by_lease ON runs (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX runs_by_money ON runs (notebook, service, created, state, cost_usd, estimated_usd);
CREATE INDEX runs_by_sweep ON runs (sweep_id, sweep_point) WHERE sweep_id IS NOT NULL;
CREATE TRIGGER media_sha256_insert AFTER INSERT ON runs BEGIN
                    INSERT OR IGNORE INTO media SELECT json_extract(made.value, '$.sha256'), NEW.run_id, made.key, NULL
                    FROM json_each(NEW.outputs) AS made WHERE json_extract(made.value, '$.sha256') IS NOT NULL;
                END;
CREATE TRIGGER media_sha256_update AFTER UPDATE OF outputs ON runs BEGIN
                    INSERT OR IGNORE INTO media SELECT json_extract(made.value, '$.sha256'), NEW.run_id, made.key, NULL
                    FROM json_each(NEW.outputs) AS made WHERE json_extract(made.value, '$.sha256') IS NOT NULL;
                END;
CREATE TRIGGER media_stored_sha256_insert AFTER INSERT ON runs BEGIN
                    INSERT OR IGNORE INTO media SELECT json_extract(made.value, '$.stored_sha256'), NEW.run_id, made.key, NULL
                    FROM json_each(NEW.outputs) AS made WHERE json_extract(made.value, '$.stored_sha256') IS NOT NULL;
                END;
CREATE TRIGGER media_stored_sha256_update AFTER UPDATE OF outputs ON runs BEGIN
                    INSERT OR IGNORE INTO media SELECT json_extract(made.value, '$.stored_sha256'), NEW.run_id, made.key, NULL
                    FROM json_each(NEW.outputs) AS made WHERE json_extract(made.value, '$.stored_sha256') IS NOT NULL;
                END;
COMMIT;
