-- An in-memory database: rows with text of mixed length, two indexes, updates that change sizes,
-- grouping, deletes. The page cache grows by malloc, rows and cursors come and go.
CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT, n INTEGER);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 150000)
INSERT INTO t SELECT x, 'key-' || (x * 7919 % 100003), substr(hex(zeroblob(200)), 1, x * 31 % 380), x % 97 FROM c;
CREATE INDEX by_k ON t(k);
CREATE INDEX by_n ON t(n, v);
UPDATE t SET v = v || v WHERE n % 5 = 0;
SELECT n, count(*), group_concat(substr(k, 5, 3)) FROM t GROUP BY n HAVING count(*) > 1600;
SELECT count(*) FROM t a JOIN t b ON a.k = b.k WHERE a.n < 40;
DELETE FROM t WHERE n % 7 <> 0;
SELECT count(*), sum(length(v)) FROM t;
