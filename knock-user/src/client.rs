//! The client: a knock is made and sent.
