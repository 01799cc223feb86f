//! The one test binary of ottla-plan: what is observed, to the text of the plan.

mod clusters;
mod passes;
mod restarts;
mod server;
mod topics;
