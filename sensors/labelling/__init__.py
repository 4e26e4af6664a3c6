"""The ML backend of Label Studio: the champion's answers, as labelers see them before they label."""
