//! A scripted system in virtual time, for tests.
