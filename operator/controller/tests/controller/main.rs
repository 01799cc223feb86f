//! The one test binary of ottla-controller.

mod chart;
