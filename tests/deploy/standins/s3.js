// What MinIO does with MINIO_ROOT_USER and MINIO_ROOT_PASSWORD_FILE: one account's buckets, kept in /data.
const fs = require("fs");
const S3rver = require("/opt/standins/node_modules/s3rver");
const Account = require("/opt/standins/node_modules/s3rver/lib/models/account");

const password = fs.readFileSync(process.env.MINIO_ROOT_PASSWORD_FILE, "utf8").trim();
Account.DUMMY_ACCOUNT.createKeyPair(process.env.MINIO_ROOT_USER, password);
new S3rver({ address: "0.0.0.0", port: 9000, directory: "/data", vhostBuckets: false, silent: true }).run();
