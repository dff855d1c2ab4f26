"""What the service looked like, for as long as its folder may remember: samples, happenings and the
slowest requests, in a file of bounded size.
"""
