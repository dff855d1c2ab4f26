"""Verified fakes and conformance suites, public: a fake passes the suite of the real thing."""
