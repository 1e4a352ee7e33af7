//! What all layers together say, strictly typed and not yet believed.

use std::collections::{BTreeMap, BTreeSet};

use ::config::{Config, ConfigError as MergeError, Map, Source, Value};
use serde::Deserialize;

use super::duration::Span;
use super::error::{ConfigError, Excerpt, Place};
use super::file::{Layer, Origin};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub mode: String,
    pub probe: WrittenProbe,
    pub dns: WrittenDns,
    pub ready: WrittenReady,
    pub edge: WrittenEdge,
    pub judge: WrittenJudge,
    pub remedy: WrittenRemedy,
    pub window: WrittenWindow,
    pub api: WrittenApi,
    pub http: WrittenHttp,
    /// By unit.
    #[serde(default)]
    pub tunnel: BTreeMap<String, WrittenTunnel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenProbe {
    pub period: Span,
    pub period_down: Span,
    pub timeout: Span,
    pub control: Vec<String>,
    pub resolve: String,
    pub edge_addresses: Vec<String>,
    pub observers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenDns {
    pub period: Span,
    pub period_down: Span,
    pub resolver: String,
    pub ranges: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenReady {
    pub period: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenEdge {
    pub period: Span,
    pub period_down: Span,
    pub region: String,
    pub status_page: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenJudge {
    pub sustained: Span,
    pub rounds: u32,
    pub patience: Span,
    pub start_grace: Span,
    pub boot_grace: Span,
    pub healthy_after: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenRemedy {
    pub cooldown: Vec<Span>,
    pub per_hour: u32,
    pub per_day: u32,
    pub per_hour_host: u32,
    pub half_open: Span,
    pub swift: bool,
    pub start_stopped: bool,
    pub transport_fallback: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenWindow {
    pub forbid: Vec<String>,
    pub allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenApi {
    pub account_id: String,
    pub token: String,
    pub global_key: bool,
    pub period: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenHttp {
    pub listen: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenTunnel {
    /// The name it is filed under, once more.
    pub unit: Option<String>,
    pub name: Option<String>,
    pub id: Option<String>,
    pub config: Option<String>,
    pub metrics: Option<String>,
    pub hostnames: Vec<String>,
    pub probe: Vec<WrittenNameProbe>,
    pub expect: Vec<WrittenExpected>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenNameProbe {
    pub url: Option<String>,
    pub expect_status: Vec<u32>,
    pub expect_header: Option<String>,
    pub expect_body: Option<String>,
    pub access: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenExpected {
    pub hostname: Option<String>,
    pub path: Option<String>,
    pub service: Option<String>,
}

/// Where everything was written, over all layers.
#[derive(Default)]
pub(super) struct Origins {
    origins: BTreeMap<String, Origin>,
    refused: BTreeSet<String>,
    /// Units of the tunnels, in the order in which they first occur.
    pub units: Vec<String>,
}

impl Origins {
    /// Takes the layer's notes; the next layer overrides.
    pub(super) fn add(&mut self, layer: &mut Layer) {
        self.origins.append(&mut layer.origins);
        self.refused.append(&mut layer.refused);
        for unit in layer.units.drain(..) {
            if !self.units.contains(&unit) {
                self.units.push(unit);
            }
        }
    }

    /// Whether a value for it was refused already, so that what is known is a stopgap.
    pub(super) fn refused(&self, path: &str) -> bool {
        self.refused.contains(path)
    }

    /// The place and line of a value, or of what it stands in.
    pub(super) fn of(&self, path: &str) -> (Place, Excerpt) {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return (origin.place(), origin.excerpt());
            }
            match path.rsplit_once('/') {
                Some((outer, _)) => path = outer,
                None => return (Place::BuiltIn, Excerpt::default()),
            }
        }
    }
}

/// One layer for the merger.
#[derive(Clone)]
struct Merged(Map<String, Value>);

/// Without the values, which may be anything.
impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Merged")
    }
}

impl Source for Merged {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, MergeError> {
        Ok(self.0.clone())
    }
}

/// Lays the layers over each other, the last one on top. Tables are merged, lists replaced.
pub(super) fn merge(layers: impl Iterator<Item = Map<String, Value>>) -> Result<Written, ConfigError> {
    let mut builder = Config::builder();
    for values in layers {
        builder = builder.add_source(Merged(values));
    }
    // The values are of the right kinds already; the merger's own words could quote one, so they go no further.
    let merged = builder.build().map_err(|_may_quote_a_value| ConfigError::Merge)?;
    merged.try_deserialize().map_err(|_may_quote_a_value| ConfigError::Merge)
}
