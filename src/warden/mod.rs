//! The judge. Pure: it reads no clock, opens no file and awaits nothing, so that every decision can be
//! replayed from a text file. Reading order: time, evidence (unit, journal, connector, edge, name, route), track, looks, facts,
//! cause, verdict, diagnosis, remedy, hold, rails, policy, history, incident, tunnel, event, judgement, order, machine, outlook.

pub mod time;

pub mod announcement;
mod connector;
mod edge;
pub mod evidence;
mod journal;
mod name;
pub mod route;
pub mod track;
mod unit;

pub mod facts;
pub mod looks;
mod over_time;

pub mod cause;
pub mod diagnosis;
pub mod explain;
mod verdict;

pub mod remedy;

mod hold;
pub mod rails;

pub mod policy;

pub mod history;
pub mod incident;

mod course;
pub mod event;
mod judgement;
pub mod machine;
pub mod note;
pub mod operator;
mod order;
pub mod outlook;
mod telling;
pub mod tunnel;
