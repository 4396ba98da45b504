"""What each statistic means, for people: generated from the SDK's catalogue into statistics.json (`make reference`)."""
