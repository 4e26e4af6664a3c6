"""The whole loop on real data, told in four acts: `ratchet demo`. Everything here is a user of the product."""
