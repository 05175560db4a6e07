"""entirespace"""
