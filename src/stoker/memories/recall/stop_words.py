"""English words that say nothing of what is looked for. Elsewhere, their frequency tells."""

from __future__ import annotations

_WORDS = """
    a about after again ain all also am an and any anybody anyone are aren aren't around as at
    be because been before being between both but by can can't cannot could couldn couldn't
    did didn didn't do does doesn doesn't doing don don't done down during each else ever
    every few for from further get gets getting give given go goes going got had hadn hadn't
    has hasn hasn't have haven haven't having he he's her here hers herself him himself his
    how i i'd i'll i'm i've if in into is isn isn't it it's its itself just let let's lets
    like ll many may me might mine more most much must my myself no nor not now of off on once
    one only onto or other our ours ourselves out over own per please put re s said same say
    says shall she she's should shouldn shouldn't so some somebody someone something such t
    tell than that that's the their theirs them themselves then there there's these they
    they're they've thing things this those though through to too under until up upon us ve
    very via want wants was wasn wasn't we we're we've were weren weren't what what's when
    where whether which while who who's whom whose why will with within without won won't
    would wouldn wouldn't yes you you'd you'll you're you've your yours yourself yourselves
"""
STOP_WORDS = frozenset(_WORDS.split())
