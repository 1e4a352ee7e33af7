//! Keys that cloudflared knows in its rules.

pub(super) const RULE_KEYS: [&str; 4] = ["hostname", "path", "service", "originRequest"];
pub(super) const ORIGIN_KEYS: [&str; 17] = [
    "connectTimeout",
    "tlsTimeout",
    "tcpKeepAlive",
    "noHappyEyeballs",
    "keepAliveConnections",
    "keepAliveTimeout",
    "httpHostHeader",
    "originServerName",
    "matchSNItoHost",
    "caPool",
    "noTLSVerify",
    "disableChunkedEncoding",
    "bastionMode",
    "proxyAddress",
    "proxyPort",
    "proxyType",
    "ipRules",
];
pub(super) const LATER_ORIGIN_KEYS: [&str; 2] = ["http2Origin", "access"];
/// Keys of a ConfigMap under which the configuration lies.
pub(super) const CONFIG_KEYS: [&str; 2] = ["config.yaml", "config.yml"];
