//! One file: text → the values that can be merged, and where each was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ::config::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Excerpt, Place};
use super::keys::{self, LISTS};
use super::redact::{self, Line};

/// Nobody writes that much; a file that long is something else.
const LONGEST: u64 = 1 << 20;
/// More syntax errors than that are consequences of the first.
const SYNTAX_ERRORS_TOLD: usize = 3;
/// Each excerpt looks at its file from the beginning, and nobody reads more.
pub(super) const ERRORS_TOLD: usize = 30;
/// The unit of a tunnel that names none.
pub(super) const USUAL_UNIT: &str = "cloudflared.service";

/// A file as it was read. Without `Debug`, because it may hold anything.
pub(super) struct Text {
    pub path: PathBuf,
    pub text: String,
}

/// Where a value was written.
#[derive(Clone)]
pub(super) enum Origin {
    File(Rc<Text>, Range<usize>),
    /// Name of the variable, and what it was set to as far as that may be shown.
    Environment(String, String),
}

/// What one file or the environment says.
#[derive(Default)]
pub(super) struct Layer {
    pub values: Map<String, Value>,
    /// By path, such as `probe/period` or `tunnel/cloudflared.service/name`.
    pub origins: BTreeMap<String, Origin>,
    /// Paths whose value was refused, so that nothing is concluded from its absence.
    pub refused: BTreeSet<String>,
    /// Units of the tunnels, in the order of the text.
    pub units: Vec<String>,
    pub errors: Vec<ConfigError>,
    /// The text is no TOML, so what it says is not fully known.
    pub broken: bool,
}

/// Reads a file that is there. Never waits: a pipe or device is refused.
pub(super) fn read(path: &Path) -> Result<Text, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let not_a_file = |says| ConfigError::NotAConfigFile { path: path.to_owned(), says };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(not_a_file("is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if LONGEST < bytes.len() as u64 {
        return Err(not_a_file("is longer than 1 MiB, which no configuration is"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        unreadable(io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8 text")))
    })?;
    Ok(Text { path: path.to_owned(), text })
}

/// Understands a text; all that is wrong with it is in the layer.
pub(super) fn layer(text: Text) -> Layer {
    let text = Rc::new(text);
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    let mut walk = Walk { text: &text, layer: Layer::default() };
    if errors.is_empty() {
        walk.layer.values = walk.table("", "", table.get_ref());
        walk.layer.errors.sort_by_key(ConfigError::line);
        return walk.layer;
    }
    walk.layer.broken = true;
    for error in errors.into_iter().take(SYNTAX_ERRORS_TOLD) {
        let span = error.span().unwrap_or(0..0);
        // The parser's words may quote the text.
        let says = format!("is not TOML: {}", redact::name(error.message()));
        walk.layer.errors.push(ConfigError::Syntax {
            place: text.place(&span),
            says,
            excerpt: text.excerpt(&span, Shown::Line),
        });
    }
    walk.layer
}

/// How much of a line an excerpt shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Line,
    /// The value may be anything, and does not matter.
    KeyOnly,
}

struct Walk<'a> {
    text: &'a Rc<Text>,
    layer: Layer,
}

impl Walk<'_> {
    /// Checks a table against the keys of its section. `path` tells apart the tables of a list.
    fn table(&mut self, section: &str, path: &str, table: &DeTable<'_>) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let full = keys::join(section, name);
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            let value_span = value.span();
            let read = if LISTS.contains(&full.as_str()) {
                self.list(&full, &path, value.get_ref(), key.span())
            } else if keys::is_section(&full) {
                self.section(&full, &path, value.get_ref(), key.span())
            } else if let Some(known) = keys::find(section, name) {
                known.read(value.get_ref()).map_err(|says| {
                    self.refuse(&path, &full, says, value_span.clone(), Shown::Line);
                })
            } else {
                let says = keys::instead_of(section, name);
                let shown = keys::join(section, &redact::name(name));
                self.refuse(&path, &shown, says, key.span(), Shown::KeyOnly);
                Err(())
            };
            if let Ok(value) = read {
                self.layer.origins.insert(path, Origin::File(Rc::clone(self.text), value_span));
                values.insert(name.to_owned(), value);
            }
        }
        values
    }

    fn section(
        &mut self,
        full: &str,
        path: &str,
        value: &DeValue<'_>,
        at: Range<usize>,
    ) -> Result<Value, ()> {
        match value.as_table() {
            Some(table) => Ok(self.table(full, path, table).into()),
            None => {
                let mut says = format!("is a section; write {}", keys::header(full));
                let list = keys::join("tunnel", full);
                if value.is_array() && LISTS.contains(&list.as_str()) {
                    says.push_str(&format!(", or {} below a [[tunnel]]", keys::header(&list)));
                }
                self.refuse(path, full, says, at, Shown::KeyOnly);
                Err(())
            }
        }
    }

    /// A section that can stand several times. Tunnels are told apart by their unit, so that one file
    /// can refine or add to another's.
    fn list(&mut self, full: &str, path: &str, value: &DeValue<'_>, at: Range<usize>) -> Result<Value, ()> {
        let tables: Option<Vec<&DeTable<'_>>> =
            value.as_array().and_then(|items| items.iter().map(|item| item.get_ref().as_table()).collect());
        let Some(tables) = tables else {
            let says = format!("can stand several times; write {}", keys::header(full));
            self.refuse(path, full, says, at, Shown::KeyOnly);
            return Err(());
        };
        if full == "tunnel" {
            return Ok(self.tunnels(path, &tables, at).into());
        }
        let numbered = tables.iter().enumerate();
        let values = numbered.map(|(n, table)| Value::from(self.table(full, &format!("{path}/{n}"), table)));
        Ok(values.collect::<Vec<Value>>().into())
    }

    fn tunnels(&mut self, path: &str, tables: &[&DeTable<'_>], at: Range<usize>) -> Map<String, Value> {
        let mut tunnels = Map::new();
        for table in tables {
            let unit = table.get("unit");
            let name = unit.map_or(Some(USUAL_UNIT), |unit| unit.get_ref().as_str());
            let values = self.table("tunnel", &format!("{path}/{}", name.unwrap_or("?")), table);
            // A unit that is no text was refused already.
            let Some(name) = name else { continue };
            if tunnels.insert(name.to_owned(), values.into()).is_some() {
                let says = match unit {
                    Some(_) => "is given to two tunnels; write one [[tunnel]] for each unit".to_owned(),
                    None => {
                        format!("is missing in one of several tunnels; without it each means {USUAL_UNIT}")
                    }
                };
                let span = unit.map_or(at.clone(), |unit| unit.span());
                self.refuse(&format!("{path}/{name}/unit"), "tunnel.unit", says, span, Shown::Line);
            } else {
                self.layer.units.push(name.to_owned());
            }
        }
        tunnels
    }

    fn refuse(&mut self, path: &str, key: &str, says: String, span: Range<usize>, shown: Shown) {
        self.layer.refused.insert(path.to_owned());
        if ERRORS_TOLD <= self.layer.errors.len() {
            return;
        }
        self.layer.errors.push(ConfigError::Refused {
            place: self.text.place(&span),
            key: key.to_owned(),
            says,
            excerpt: self.text.excerpt(&span, shown),
        });
    }
}

impl Origin {
    pub(super) fn place(&self) -> Place {
        match self {
            Self::File(text, span) => text.place(span),
            Self::Environment(name, _) => Place::Environment(name.clone()),
        }
    }

    pub(super) fn excerpt(&self) -> Excerpt {
        match self {
            Self::File(text, span) => text.excerpt(span, Shown::Line),
            Self::Environment(name, shown) => Excerpt(format!("{name}={shown}")),
        }
    }
}

impl Text {
    fn place(&self, span: &Range<usize>) -> Place {
        Place::File { path: self.path.clone(), line: self.line_number(span) }
    }

    fn line_number(&self, span: &Range<usize>) -> usize {
        1 + self.before(span).matches('\n').count()
    }

    fn before(&self, span: &Range<usize>) -> &str {
        self.text.get(..span.start).unwrap_or(&self.text)
    }

    /// The line, and below it a mark under what is meant if that is on show.
    fn excerpt(&self, span: &Range<usize>, shown: Shown) -> Excerpt {
        let number = self.line_number(span);
        let gutter = number.to_string();
        let start = self.before(span).rsplit('\n').next().map_or(0, |before| before.chars().count());
        let (line, whole) = match redact::line(&self.text, number) {
            Line::Hidden(line) => (line, false),
            Line::Shown(line) => match (shown, line.split_once('=')) {
                (Shown::KeyOnly, Some((key, _))) if start < key.chars().count() => {
                    (format!("{key}= …"), true)
                }
                (Shown::KeyOnly, Some(_)) => (redact::HIDDEN.to_owned(), false),
                (Shown::KeyOnly, None) | (Shown::Line, _) => (line, true),
            },
        };
        let mut excerpt = format!("{gutter} | {line}");
        let room = line.chars().count();
        if whole && start < room {
            let meant = self.text.get(span.clone()).and_then(|meant| meant.lines().next()).unwrap_or("");
            let marks = meant.chars().count().clamp(1, room - start);
            excerpt.push_str(&format!("\n{:w$} | {:start$}{}", "", "", "^".repeat(marks), w = gutter.len()));
        }
        Excerpt(excerpt)
    }
}
