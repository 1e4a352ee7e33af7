//! The judge. Pure: it reads no clock, opens no file and awaits nothing, so that every decision can be
//! replayed from a text file. Reading order: time, evidence, track, facts, cause, diagnosis, remedy, rails,
//! policy, history, incident, tunnel, machine.

pub mod time;

pub mod evidence;
mod name;
pub mod route;
pub mod track;

pub mod facts;

pub mod cause;
pub mod diagnosis;
pub mod explain;

pub mod remedy;

pub mod rails;

pub mod policy;

pub mod history;
pub mod incident;

mod course;
pub mod machine;
pub mod note;
pub mod operator;
mod order;
mod telling;
pub mod tunnel;
