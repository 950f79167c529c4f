//! Rows for the decisions.
