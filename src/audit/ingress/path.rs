//! What a rule's `path` matches: asked of one request, or of all at once.

use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

use super::go_regexp::rewritten;

/// Largest pattern that is taken, in bytes; Go takes some that are larger.
const LARGEST: usize = 1 << 24;
/// Largest table that is made to compare patterns, in bytes; those in use need some thousand.
const LARGEST_TABLE: usize = 1 << 18;
/// Combined states that are looked at before it is given up.
const MOST_STATES: usize = 4_000;
/// What paths are made of, the likeliest first. Each character beyond ASCII stands for all of its length.
const ALPHABET: &str =
    "abcdefghijklmnopqrstuvwxyz/0123456789-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZ!$%&'()*+,:;=@ \"#<>?[\\]^`{|}é漢😀";

type Table = dense::DFA<Vec<u32>>;

/// A pattern that Go compiles.
#[derive(Debug)]
pub(super) struct Pattern {
    text: String,
    machine: PikeVM,
    rewritten: String,
    /// `None`: too large to compare with others.
    table: OnceCell<Option<Table>>,
    sample: OnceCell<Option<String>>,
}

/// Whether some patterns together match every path that another one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Covered {
    Yes,
    /// Not this path, the shortest there is.
    Not(String),
    /// Too large to tell.
    Unknown,
}

impl Pattern {
    /// # Errors
    /// Go's own words.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let pattern = rewritten(text)?;
        let too_large = |_| format!("error parsing regexp: expression too large: `{text}`");
        let machine =
            PikeVM::builder().syntax(syntax()).thompson(limits()).build(&pattern).map_err(too_large)?;
        Ok(Self {
            text: text.to_owned(),
            rewritten: pattern,
            machine,
            table: OnceCell::new(),
            sample: OnceCell::new(),
        })
    }

    fn table(&self) -> Option<&Table> {
        let build = || {
            let sizes = dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(LARGEST_TABLE))
                .determinize_size_limit(Some(LARGEST_TABLE));
            let mut builder = dense::Builder::new();
            builder.configure(sizes).syntax(syntax()).thompson(limits().nfa_size_limit(Some(LARGEST_TABLE)));
            builder.build(&self.rewritten).ok()
        };
        self.table.get_or_init(build).as_ref()
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Go reads each byte that is no UTF-8 as U+FFFD.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let mut text = String::with_capacity(path.len());
        for chunk in path.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
        }
        self.machine.is_match(&mut self.machine.create_cache(), text.as_str())
    }

    /// The shortest path that it matches, if there is any.
    pub(super) fn sample(&self) -> Option<&str> {
        let look = || match covered(&[], Some(self)) {
            Covered::Not(path) => Some(path),
            Covered::Yes | Covered::Unknown => None,
        };
        self.sample.get_or_init(look).as_deref()
    }

    /// No path that a request can have, since each begins with a slash.
    pub(super) fn impossible(&self) -> bool {
        covered(&[], Some(self)) == Covered::Yes
    }
}

/// Whether `outer` together match every path that `inner` does (without: every path there is).
pub(super) fn covered(outer: &[&Pattern], inner: Option<&Pattern>) -> Covered {
    let tables: Option<Vec<&Table>> = outer.iter().map(|pattern| pattern.table()).collect();
    let Some(tables) = tables else { return Covered::Unknown };
    let inner = match inner {
        None => None,
        Some(pattern) => match pattern.table() {
            Some(table) => Some(table),
            None => return Covered::Unknown,
        },
    };
    walk(&tables, inner).unwrap_or(Covered::Unknown)
}

fn limits() -> thompson::Config {
    thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST))
}

fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false)
}

/// How far one pattern has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Track {
    /// It has matched; what follows does not matter.
    Matched,
    At(StateID),
}

impl Track {
    fn begin(table: &Table) -> Option<Self> {
        table.start_state(&start::Config::new().anchored(Anchored::No)).ok().map(Self::At)
    }

    fn step(self, table: &Table, bytes: &[u8]) -> Self {
        let Self::At(mut state) = self else { return self };
        for byte in bytes {
            state = table.next_state(state, *byte);
            if table.is_match_state(state) {
                return Self::Matched;
            }
        }
        Self::At(state)
    }

    fn matches_at_the_end(self, table: &Table) -> bool {
        match self {
            Self::Matched => true,
            Self::At(state) => table.is_match_state(table.next_eoi_state(state)),
        }
    }
}

/// Looks for the shortest path that `inner` matches and none of `outer` does.
fn walk(outer: &[&Table], inner: Option<&Table>) -> Option<Covered> {
    let mut tables = outer.to_vec();
    tables.extend(inner);
    let mut state = Vec::new();
    for table in &tables {
        state.push(Track::begin(table)?.step(table, b"/"));
    }
    let mut seen = HashSet::from([state.clone()]);
    let mut open = VecDeque::from([(state, String::from("/"))]);
    while let Some((state, path)) = open.pop_front() {
        let (outers, inners) = state.split_at(outer.len());
        if outers.contains(&Track::Matched) {
            continue;
        }
        let mut dead = false;
        let mut matched = true;
        if let (Some(table), Some(track)) = (inner, inners.first()) {
            matched = track.matches_at_the_end(table);
            dead = matches!(track, Track::At(state) if table.is_dead_state(*state));
        }
        let mut taken = outers.iter().zip(outer).map(|(track, table)| track.matches_at_the_end(table));
        if matched && !taken.any(|taken| taken) {
            return Some(Covered::Not(path));
        }
        if dead {
            continue;
        }
        for c in ALPHABET.chars() {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            let next: Vec<Track> =
                state.iter().zip(&tables).map(|(track, table)| track.step(table, bytes)).collect();
            if seen.insert(next.clone()) {
                if MOST_STATES < seen.len() {
                    return None;
                }
                open.push_back((next, format!("{path}{c}")));
            }
        }
    }
    Some(Covered::Yes)
}
