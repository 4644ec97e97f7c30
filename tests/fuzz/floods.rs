//! Floods (to come).
