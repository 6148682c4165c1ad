"""What problems 4.7, 4.8 and 4.9 share: value laws at one second moment, polygons, and their pictures."""
